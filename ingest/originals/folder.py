"""Originals in the data folder."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ingest import files
from ingest.blobs import blob_path, claim_folder, drop_old_files, sweep, unneeded
from ingest.keeping.portable import Written, digest
from ingest.locks import folder_lock
from ingest.originals.port import Stray, Which
from rag.settings import Settings
from rag.store.scope import Scope
from rag.store.session import Database

if TYPE_CHECKING:
    from ingest.uploads import FinishedUpload

_PIECE = 1 << 20


class FolderOriginals:
    """Files in `blobs` of the data folder; processes that share it share them. See `Originals`."""

    where = "the folder blobs"

    def __init__(self, db: Database, settings: Settings) -> None:
        self._db, self._settings = db, settings
        self._folder = settings.data_dir / "blobs"

    @contextmanager
    def writing(self) -> Iterator[None]:
        with folder_lock(self._settings.data_dir / "blobs.lock", exclusive=False):
            claim_folder(self._db, self._settings)
            yield

    def send(self, document_id: str, upload: FinishedUpload) -> None:
        """Nothing: the number of the generation, by which the file is called, is not known yet."""

    def place(self, uploads: Iterable[tuple[str, int, FinishedUpload]]) -> None:
        for document_id, generation, upload in uploads:
            os.rename(upload.path, self._path(document_id, generation))
        files.sync_folder(self._folder)

    def again(self, document_id: str, before: int, generation: int) -> None:
        files.twin(self._path(document_id, before), self._path(document_id, generation))

    def discard(self, document_ids: Iterable[str]) -> None:
        for document_id in document_ids:
            files.remove_if_possible(self._path(document_id, 1))

    def refused(self, document_id: str, sha256: str) -> None:
        """Nothing was sent. What was placed before a rollback is nobody's: the next version of that number
        takes its place, or `sweep` removes it."""

    def drop_old(self, scope: Scope, document_id: str) -> list[int]:
        return drop_old_files(self._db, self._settings, scope, document_id)

    def remove(self, gone: Sequence[Which]) -> None:
        undone: OSError | None = None
        for document_id, generation in gone:
            try:
                self._path(document_id, generation).unlink(missing_ok=True)
            except OSError as error:
                undone = undone or error
        if gone and self._folder.is_dir():
            files.sync_folder(self._folder)
        if undone is not None:
            raise undone

    def lies_at(self, document_id: str, generation: int) -> Path:
        path = self._path(document_id, generation)
        if not path.is_file():
            raise FileNotFoundError(2, "there is no such original", str(path))
        return path

    @contextmanager
    def open(self, document_id: str, generation: int) -> Iterator[Path]:
        yield self.lies_at(document_id, generation)

    def read(self, document_id: str, generation: int, start: int, end: int) -> Iterator[bytes]:
        with self._path(document_id, generation).open("rb") as stream:
            stream.seek(start)
            while start < end and (piece := stream.read(min(_PIECE, end - start))):
                start += len(piece)
                yield piece

    def digest(self, document_id: str, generation: int) -> Written:
        return digest(self._path(document_id, generation))

    def copy(self, document_id: str, generation: int, target: Path, *, link: bool) -> bool:
        path = self._path(document_id, generation)
        if link and files.link(path, target):
            return True
        files.copy_durably(path, target)
        return False

    def strays(self) -> Iterator[Stray]:
        for name in unneeded(self._db, self._folder):
            yield Stray(str(self._folder / name), files.size_of(self._folder / name))

    def sweep(self) -> list[str]:
        return sweep(self._db, self._settings)

    def _path(self, document_id: str, generation: int) -> Path:
        return blob_path(self._settings, document_id, generation)
