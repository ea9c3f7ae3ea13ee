"""Originals in the place of LONGLEAF_OBJECTS: `originals/{store}/{document}/{veil of the SHA-256}`.

The name says which bytes it holds and not which generation, so that it is known before a transaction, and
generations of the same bytes share an object. What is below a document's name goes with the document. Two
rules keep a row from losing its object: within the transaction that makes a next version, which has the
document locked, `place` looks whether the object is there and else sends it once more; and whoever removes an
object of a document that is there does so with the document locked. A new document has no row to lock: its
object is nobody's only after a day, or once the log of changes says that the document was deleted.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext, suppress
from datetime import timedelta
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from sqlalchemy import select
from sqlalchemy.orm import Session

from ingest.blobs import kept_generations, mark_of
from ingest.errors import file_damaged
from ingest.files import sync_folder
from ingest.keeping.portable import Written
from ingest.locks import create_locked
from ingest.originals.folder import FolderOriginals
from ingest.originals.port import Stray, Which
from rag.errors import LongleafError, NotFound, Unavailable
from rag.ids import new_id
from rag.objects.store import Damaged, Listed, ObjectStore
from rag.settings import Settings
from rag.store.repositories import Versions
from rag.store.scope import Scope, utc_now
from rag.store.session import Database
from rag.store.tables import Change, Document, Version

if TYPE_CHECKING:
    from ingest.uploads import FinishedUpload

log = logging.getLogger(__name__)

FOLDER = "originals"
GRACE = timedelta(days=1)
"""Age from which an object is nobody's that belongs to a document which never was: an upload that began by
then is entered, or broken off."""
_PIECE = 1 << 20
_AT_ONCE = 500
_THREADS = 8


class SharedOriginals:
    """Objects of a place that all machines reach. See `Originals`.

    Files that lie in the data folder, from before originals were kept in such a place, are read, and go there
    when a process of their machine starts (`sweep`).
    """

    where = "the place of LONGLEAF_OBJECTS"

    def __init__(self, db: Database, settings: Settings, objects: ObjectStore, store: str) -> None:
        """`store` is the identity of the database `db`."""
        self._db, self._settings, self._objects = db, settings, objects
        self._store, self._under = store, f"{FOLDER}/{store}"
        self._before = FolderOriginals(db, settings)

    def writing(self) -> nullcontext[None]:
        return nullcontext()

    def send(self, document_id: str, upload: FinishedUpload) -> None:
        self.put(document_id, upload.sha256, upload.path)

    def place(self, uploads: Iterable[tuple[str, int, FinishedUpload]]) -> None:
        for document_id, _generation, upload in uploads:
            if self._objects.size(self._names(document_id, upload.sha256)[0]) is None:
                self.put(document_id, upload.sha256, upload.path)

    def put(self, document_id: str, sha256: str, path: Path) -> None:
        """Send a file whose bytes have this digest. Raises Unavailable, also where they have another."""
        found = hashlib.sha256()

        def pieces() -> Iterator[bytes]:
            with path.open("rb") as stream:
                while piece := stream.read(_PIECE):
                    found.update(piece)
                    yield piece

        name = self._names(document_id, sha256)[0]
        self._objects.put(name, pieces())
        if found.hexdigest() != sha256:
            self._objects.delete([name])
            raise Unavailable(
                f"{path} holds other bytes than came in; see to the disk and send the file again",
                code="storage_unavailable",
            )

    def again(self, document_id: str, before: int, generation: int) -> None:  # noqa: ARG002 (one object)
        sha256, _ = self._said(document_id, before)
        if not any(self._objects.size(name) is not None for name in self._names(document_id, sha256)):
            self.put(document_id, sha256, self._before.lies_at(document_id, before))

    def discard(self, document_ids: Iterable[str]) -> None:
        for document_id in document_ids:
            self._quietly(document_id, partial(self._purge, document_id))

    def refused(self, document_id: str, sha256: str) -> None:
        mine = set(self._names(document_id, sha256))
        self._quietly(document_id, lambda: self._clear(document_id, lambda name: name in mine))

    def drop_old(self, scope: Scope, document_id: str) -> list[int]:
        with self._db.read() as session:
            try:
                sent = {row.generation: row.sha256 for row in Versions(session, scope).list(document_id)}
            except NotFound:
                return []
        of = {name: sha256 for sha256 in sent.values() for name in self._names(document_id, sha256)}
        gone = {of[name] for name in self._clear(document_id, of.__contains__)}
        dropped = {generation for generation, sha256 in sent.items() if sha256 in gone}
        return sorted({*dropped, *self._before.drop_old(scope, document_id)})

    def remove(self, gone: Sequence[Which]) -> None:
        undone: OSError | Unavailable | None = None
        with ThreadPoolExecutor(_THREADS) as pool:
            for future in [pool.submit(self._purge, each) for each in {which[0] for which in gone}]:
                try:
                    future.result()
                except Unavailable as error:
                    undone = undone or error
        try:
            self._before.remove(gone)
        except OSError as error:
            undone = undone or error
        if undone is not None:
            raise undone

    def lies_at(self, document_id: str, generation: int) -> Path | None:
        sha256, _ = self._said(document_id, generation)
        if any(self._objects.size(name) is not None for name in self._names(document_id, sha256)):
            return None
        return self._before.lies_at(document_id, generation)

    @contextmanager
    def open(self, document_id: str, generation: int) -> Iterator[Path]:
        path = self.lies_at(document_id, generation)
        if path is not None:
            yield path
            return
        # locked and called like an upload, so that what a killed process leaves is cleared up as one
        copy = self._settings.data_dir / "tmp" / new_id("upload")
        descriptor = create_locked(copy)
        try:
            with open(descriptor, "wb", closefd=False) as stream:
                self._write(document_id, generation, stream)
            yield copy
        finally:
            copy.unlink(missing_ok=True)
            os.close(descriptor)

    def read(self, document_id: str, generation: int, start: int, end: int) -> Iterator[bytes]:
        sha256, size = self._said(document_id, generation)
        with _telling(document_id):
            for name in self._names(document_id, sha256):
                pieces = self._objects.read(name, start, min(end, size))
                if pieces is not None:
                    yield from pieces
                    return
        yield from self._before.read(document_id, generation, start, end)

    def digest(self, document_id: str, generation: int) -> Written:
        _, size = self._said(document_id, generation)
        return _counted(self.read(document_id, generation, 0, size))

    def copy(self, document_id: str, generation: int, target: Path, *, link: bool) -> bool:
        path = self.lies_at(document_id, generation)
        if path is not None:
            return self._before.copy(document_id, generation, target, link=link)
        with target.open("wb") as stream:
            self._write(document_id, generation, stream)
            stream.flush()
            os.fsync(stream.fileno())
        return False

    def strays(self) -> Iterator[Stray]:
        for found in self._some():
            with self._db.read() as session:
                yield from (Stray(each.name, each.size) for each in self._nobodys(session, found))
        yield from self._before.strays()

    def sweep(self) -> list[str]:
        removed = self._before.sweep()
        self._bring_over()
        for found in self._some():
            with self._db.read() as session:
                strays = {each.name for each in self._nobodys(session, found)}
            for document_id in {_document(name) for name in strays}:
                removed += self._clear(document_id, strays.__contains__)
        return removed

    def drop_all(self) -> None:
        """Remove every original of the store."""
        self._objects.purge(self._under)

    def _some(self) -> Iterator[list[Listed]]:
        listed = iter(self._objects.list(self._under))
        while some := list(islice(listed, _AT_ONCE)):
            yield some

    def _bring_over(self) -> None:
        """Send the originals that lie in the data folder, and remove them there."""
        folder = self._settings.data_dir / "blobs"
        if mark_of(folder) != self._store:
            return
        for path in sorted(folder.glob("doc_*")):
            document_id, _, number = path.name.partition(".")
            with suppress(FileNotFoundError):
                self.put(document_id, self._said(document_id, int(number or 1))[0], path)
                path.unlink()
                with self._db.read() as session:
                    there = session.get(Document, document_id) is not None
                if not there:  # deleted while it was sent
                    self._purge(document_id)
        sync_folder(folder)

    def _nobodys(self, session: Session, found: Sequence[Listed]) -> Iterator[Listed]:
        ids = {_document(each.name) for each in found}
        there = set(session.scalars(select(Document.id).where(Document.id.in_(ids))))
        deleted = set(
            session.scalars(
                select(Change.document_id).where(Change.kind == "delete", Change.document_id.in_(ids - there))
            )
        )
        needed = self._needed(session, there)
        for each in found:
            document_id = _document(each.name)
            if document_id in there or document_id in deleted:
                nobodys = each.name not in needed[document_id]
            else:
                nobodys = each.modified < utc_now() - GRACE
            if nobodys:
                yield each

    def _needed(self, session: Session, document_ids: Iterable[str]) -> dict[str, set[str]]:
        """The names of the objects that documents need."""
        kept = kept_generations(session, document_ids)
        needed: dict[str, set[str]] = defaultdict(set)
        query = select(Version.document_id, Version.generation, Version.sha256)
        for document_id, generation, sha256 in session.execute(query.where(Version.document_id.in_(kept))):
            if generation in kept[document_id]:
                needed[document_id].update(self._names(document_id, sha256))
        return needed

    def _clear(self, document_id: str, may_go: Callable[[str], bool]) -> list[str]:
        """Remove the objects of a document that it does not need, of those that may go. One of a document
        without a row needs none."""
        with self._db.session() as session:
            session.execute(select(Document.id).where(Document.id == document_id).with_for_update())
            needed = self._needed(session, [document_id])[document_id]
            names = [found.name for found in self._objects.list(f"{self._under}/{document_id}")]
            gone = [name for name in names if may_go(name) and name not in needed]
            self._objects.delete(gone)
        return gone

    def _purge(self, document_id: str) -> None:
        self._objects.purge(f"{self._under}/{document_id}")

    def _write(self, document_id: str, generation: int, stream: BinaryIO) -> None:
        """Write an original's bytes, whose digest has to be the row's. Raises as `open`."""
        sha256, size = self._said(document_id, generation)
        pieces = self.read(document_id, generation, 0, size)
        if _counted(pieces, stream.write).sha256 != sha256:
            raise file_damaged(document_id, "another digest")

    def _said(self, document_id: str, generation: int) -> tuple[str, int]:
        """Digest and size of a generation by its row. Raises FileNotFoundError where it has none."""
        with self._db.read() as session:
            row = session.get(Version, (document_id, generation))
            if row is None:
                raise FileNotFoundError(2, "there is no such version", f"{document_id}.{generation}")
            return row.sha256, row.bytes

    def _names(self, document_id: str, sha256: str) -> list[str]:
        veils = self._objects.veils(f"{document_id}/{sha256}")
        return [f"{self._under}/{document_id}/{veil}" for veil in veils]

    def _quietly(self, document_id: str, work: Callable[[], object]) -> None:
        try:
            work()
        except LongleafError as error:
            log.warning("what was sent for %s stays until it is cleared up: %s", document_id, error)


@contextmanager
def _telling(document_id: str) -> Iterator[None]:
    try:
        yield
    except Damaged as error:
        raise file_damaged(document_id, str(error)) from error


def _counted(pieces: Iterable[bytes], take: Callable[[bytes], object] | None = None) -> Written:
    """The digest and number of bytes that come, each piece of which is handed on."""
    found, length = hashlib.sha256(), 0
    for piece in pieces:
        found.update(piece)
        length += len(piece)
        if take is not None:
            take(piece)
    return Written(found.hexdigest(), length)


def _document(name: str) -> str:
    return name.split("/")[2]
