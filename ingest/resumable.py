"""Uploads that come in several requests: what came so far lies on the disk and survives a restart."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from ingest.files import link, remove_if_possible, sync_folder
from ingest.locks import lock_at_once
from ingest.uploads import no_storage, too_large, write_whole
from rag.errors import Conflict, LongleafError, NotFound, TooLarge
from rag.ids import new_id
from rag.settings import Settings

_ID = re.compile(r"up_[0-9a-hjkmnp-tv-z]{26}")
_PIECE = 1024 * 1024


class UploadLocked(LongleafError):
    """Another request is sending to the same upload."""

    status = 423
    default_code = "upload_locked"


@dataclass(frozen=True, slots=True)
class Pending:
    """An upload: what its sender said of it at the beginning, and what became of it."""

    id: str
    workspace_id: str
    length: int
    filename: str
    collection: str
    metadata: dict[str, Any] = field(default_factory=dict)
    on_duplicate: Literal["refuse", "reuse"] = "refuse"
    replaces: str | None = None
    """The document whose next version it is; None for a new one."""
    document_id: str | None = None
    job_id: str | None = None
    """Set once all is there and taken in."""
    owner: str = ""
    """Who may go on with it; empty where nobody is asked."""


class WholeFile:
    """A finished upload as `accept_all` and `replace_file` take it."""

    def __init__(self, path: Path) -> None:
        """Reads the file once for its digest. Raises Unavailable (`storage_unavailable`)."""
        self.path = path
        digest = hashlib.sha256()
        self.bytes = 0
        try:
            with path.open("rb") as file:
                while piece := file.read(_PIECE):
                    digest.update(piece)
                    self.bytes += len(piece)
        except OSError as error:
            raise no_storage(error) from error
        self.sha256 = digest.hexdigest()

    def make_durable(self) -> None:
        """Each part was made so when it came."""

    def close(self) -> None:
        """Drop the name under which it was given away, unless it was taken."""
        remove_if_possible(self.path)


class Appending:
    """The open end of an upload, for one request; nobody else can send to it meanwhile."""

    def __init__(self, descriptor: int, offset: int, length: int) -> None:
        self._descriptor = descriptor
        self._start = offset
        self._length = length
        self.offset = offset

    def write(self, piece: bytes) -> None:
        """Append. Raises TooLarge (`too_large`) beyond the declared length, Unavailable."""
        if self.offset + len(piece) > self._length:
            self.undo()
            raise TooLarge(
                f"more bytes came than the {self._length} that Upload-Length said", code="too_large"
            )
        write_whole(self._descriptor, piece)
        self.offset += len(piece)

    def undo(self) -> None:
        """Take back what this request wrote. Raises Unavailable."""
        try:
            os.ftruncate(self._descriptor, self._start)
        except OSError as error:
            raise no_storage(error) from error
        os.lseek(self._descriptor, self._start, os.SEEK_SET)
        self.offset = self._start


def uploads_folder(settings: Settings) -> Path:
    """Where resumable uploads lie until they are documents."""
    return settings.data_dir / "uploads"


def remove_expired(settings: Settings) -> list[str]:
    """Remove the uploads of every workspace to which nothing came for `upload_hours`; returns their ids."""
    removed = []
    with suppress(FileNotFoundError):
        for folder in sorted(uploads_folder(settings).iterdir()):
            if _is_expired(folder, settings.upload_hours * 3600):
                shutil.rmtree(folder, ignore_errors=True)
                removed.append(folder.name)
    return removed


def _is_expired(folder: Path, seconds: float) -> bool:
    return _touched(folder) + seconds < time.time()


def _touched(folder: Path) -> float:
    data = folder / "data"
    return (data if data.exists() else folder).stat().st_mtime


class ResumableUploads:
    """The uploads that lie in `data_dir/uploads`, each in a folder of its own: `info.json` and `data`."""

    def __init__(self, settings: Settings, workspace_id: str, owner: str = "") -> None:
        self._settings = settings
        self._folder = uploads_folder(settings)
        self._seconds = settings.upload_hours * 3600
        self._most = settings.max_upload_bytes
        self._workspace = workspace_id
        self._owner = owner

    def create(self, length: int, filename: str, collection: str, **more: Any) -> Pending:
        """Begin an upload of `length` bytes. Raises TooLarge (`too_large`), Unavailable."""
        if length > self._most:
            raise too_large(self._most)
        remove_expired(self._settings)
        upload = Pending(
            new_id("up"), self._workspace, length, filename, collection, owner=self._owner, **more
        )
        folder = self._folder / upload.id
        try:
            folder.mkdir(parents=True)
            (folder / "data").touch()
            self._write(upload)
            sync_folder(self._folder)
        except OSError as error:
            raise no_storage(error) from error
        return upload

    def get(self, identity: str) -> Pending:
        """Raises NotFound (`upload_not_found`), also for one that expired or that somebody else began."""
        folder = self._folder / identity
        try:
            if not _ID.fullmatch(identity) or _is_expired(folder, self._seconds):
                raise FileNotFoundError
            upload = Pending(**json.loads((folder / "info.json").read_text()))
        except (FileNotFoundError, NotADirectoryError):
            upload = None
        mine = (self._workspace, self._owner)
        if upload is None or (upload.workspace_id, upload.owner) != mine:
            raise NotFound(
                f"there is no upload {identity[:60]!r}; it may have expired", code="upload_not_found"
            )
        return upload

    def offset(self, upload: Pending) -> int:
        """How many bytes are there."""
        if upload.document_id is not None:
            return upload.length
        try:
            return (self._folder / upload.id / "data").stat().st_size
        except FileNotFoundError:
            return 0

    def expires(self, upload: Pending) -> datetime:
        """When it is given up, if nothing more comes."""
        return datetime.fromtimestamp(_touched(self._folder / upload.id) + self._seconds, UTC)

    @contextmanager
    def append(self, upload: Pending, offset: int) -> Iterator[Appending]:
        """Write from `offset` on; what was written is on the disk when the block ends, however it ends.

        Raises Conflict (`offset_mismatch`, with `offset`), UploadLocked, Unavailable.
        """
        try:
            descriptor = os.open(self._folder / upload.id / "data", os.O_RDWR)
        except FileNotFoundError:
            raise UploadLocked(f"another request has just ended {upload.id}; ask for its state") from None
        except OSError as error:
            raise no_storage(error) from error
        try:
            if not lock_at_once(descriptor):
                raise UploadLocked(f"another request is sending to {upload.id}; wait for its end")
            there = os.lseek(descriptor, 0, os.SEEK_END)
            if there != offset:
                raise Conflict(
                    f"upload {upload.id} has {there} bytes, the request goes on from {offset}",
                    code="offset_mismatch",
                    extra={"offset": there},
                )
            appending = Appending(descriptor, offset, upload.length)
            try:
                yield appending
            finally:
                try:
                    os.fsync(descriptor)
                except OSError as error:
                    raise no_storage(error) from error
        finally:
            os.close(descriptor)

    @contextmanager
    def whole(self, upload: Pending) -> Iterator[WholeFile]:
        """All bytes, to be taken in. They stay here as well until `finished` is called, so that a crash
        between the two loses nothing; one request at a time. Raises UploadLocked, Unavailable."""
        folder = self._folder / upload.id
        try:
            opened = (folder / "data").open("rb")
        except FileNotFoundError:
            raise UploadLocked(f"another request has just ended {upload.id}; ask for its state") from None
        with opened as data:
            if not lock_at_once(data.fileno()):
                raise UploadLocked(f"upload {upload.id} is being taken in; wait for its end")
            whole = folder / "whole"
            try:
                whole.unlink(missing_ok=True)
                if not link(folder / "data", whole):
                    shutil.copyfile(folder / "data", whole)
            except OSError as error:
                raise no_storage(error) from error
            with closing(WholeFile(whole)) as file:
                yield file

    def finished(self, upload: Pending, document_id: str, job_id: str) -> Pending:
        """Note what it became and drop its bytes. The note stays until it expires, with ids alone: what its
        sender said of the document must not outlive it. Raises OSError."""
        done = Pending(
            upload.id,
            upload.workspace_id,
            upload.length,
            filename="",
            collection="",
            document_id=document_id,
            job_id=job_id,
        )
        self._write(done)
        (self._folder / upload.id / "data").unlink(missing_ok=True)
        return done

    def delete(self, upload: Pending) -> None:
        """Give it up."""
        shutil.rmtree(self._folder / upload.id, ignore_errors=True)

    def _write(self, upload: Pending) -> None:
        folder = self._folder / upload.id
        draft = folder / "info.new"
        with draft.open("w") as file:
            json.dump(asdict(upload), file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, folder / "info.json")
        sync_folder(folder)
