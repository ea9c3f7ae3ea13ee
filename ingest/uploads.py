"""From the network to the disk: streamed, hashed, made durable, and entered in one transaction."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from sqlalchemy.orm import Session

from ingest import jobs
from ingest.blobs import STORE_MARK, blob_path, sweep
from ingest.files import remove_if_possible
from ingest.locks import create_locked
from ingest.names import choose_title, display_filename
from ingest.originals.choice import originals_of
from rag.errors import Conflict, InvalidRequest, LongleafError, TooLarge, Unavailable
from rag.ids import new_id
from rag.settings import Settings
from rag.store.records import DocumentRow
from rag.store.repositories import Collections, Documents, Jobs, Quotas, Versions
from rag.store.scope import Scope
from rag.store.session import Database

__all__ = [
    "STORE_MARK",
    "Accepted",
    "NewDocument",
    "UploadSink",
    "accept",
    "accept_all",
    "blob_path",
    "check_metadata",
    "sweep",
]

METADATA_LIMIT = 64 * 1024
_METADATA_DEPTH = 8


class UploadSink:
    """A file in `data_dir/tmp` that takes an upload piece by piece; never more than a piece is in memory.

    Use it as a context manager: what was not accepted is removed at the end. While the process lives it holds
    the file's lock, by which `sweep` tells it from one that a dead process left.
    """

    def __init__(self, settings: Settings) -> None:
        """Make the file. Raises Unavailable (`storage_unavailable`)."""
        self._limit = settings.max_upload_bytes
        self._hash = hashlib.sha256()
        self._descriptor = -1
        self.path = settings.data_dir / "tmp" / new_id("upload")
        self.bytes = 0
        try:
            self._descriptor = create_locked(self.path)
        except OSError as error:
            raise no_storage(error) from error

    @property
    def sha256(self) -> str:
        """Hexadecimal SHA-256 of what was written so far."""
        return self._hash.hexdigest()

    def write(self, piece: bytes) -> None:
        """Append. Raises TooLarge (`too_large`) beyond the limit, Unavailable (`storage_unavailable`)."""
        if self.bytes + len(piece) > self._limit:
            raise too_large(self._limit)
        write_whole(self._descriptor, piece)
        self._hash.update(piece)
        self.bytes += len(piece)

    def make_durable(self) -> None:
        """Wait until the bytes are on the disk. Raises Unavailable (`storage_unavailable`)."""
        try:
            os.fsync(self._descriptor)
        except OSError as error:
            raise no_storage(error) from error

    def close(self) -> None:
        """Drop the file unless it was accepted; may be called again."""
        if self._descriptor >= 0:
            remove_if_possible(self.path)
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class FinishedUpload(Protocol):
    """A whole file on the data folder's disk, which may be taken away when a document is made of it."""

    @property
    def path(self) -> Path: ...
    @property
    def bytes(self) -> int: ...
    @property
    def sha256(self) -> str: ...

    def make_durable(self) -> None:
        """Wait until the bytes are on the disk. Raises Unavailable (`storage_unavailable`)."""

    def close(self) -> None:
        """Drop the file unless it was taken; may be called again."""


@dataclass(frozen=True, slots=True)
class NewDocument:
    """A finished upload and what its sender says of it."""

    upload: FinishedUpload
    filename: str
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Accepted:
    """A document that is in the store; `reused` when it had been there before."""

    document: DocumentRow
    job_id: str
    reused: bool = False


Within = Callable[[Session, DocumentRow], None]


def accept(
    db: Database,
    settings: Settings,
    scope: Scope,
    collection_id: str,
    new: NewDocument,
    *,
    reuse: bool = False,
    within: Within | None = None,
) -> Accepted:
    """Enter one document; see `accept_all`."""
    return accept_all(db, settings, scope, collection_id, [new], reuse=reuse, within=within)[0]


def accept_all(
    db: Database,
    settings: Settings,
    scope: Scope,
    collection_id: str,
    new: Sequence[NewDocument],
    *,
    reuse: bool = False,
    within: Within | None = None,
) -> list[Accepted]:
    """Enter documents and their jobs, all or none, in the order given; durable when it returns.

    An empty file is taken too: its job fails with `empty`, so that the sender finds it in the list. `within`
    is called inside the transaction, for what has to be true of a document from its first moment on.
    Bytes that the collection holds already raise Conflict (`duplicate_document`, with `existing_document_id`
    of the first and `duplicates` of all; the id is None for a file that is twice in `new`), or, with `reuse`,
    yield the existing document. Raises also NotFound, InvalidRequest (`invalid_metadata`), Unavailable, and
    Conflict (`too_many_documents`) or TooLarge (`collection_too_large`) beyond the collection's limits, and
    Conflict (`document_quota`) or TooLarge (`storage_quota`) beyond the workspace's.
    """
    for item in new:
        check_metadata(item.metadata)
        item.upload.make_durable()
    ids = [new_id("doc") for _ in new]
    originals = originals_of(db, settings)
    try:
        with originals.writing():
            try:
                originals.place((i, 1, item.upload) for i, item in zip(ids, new, strict=True))
            except (OSError, Unavailable):
                originals.discard(ids)
                raise
            try:
                accepted = _enter(db, settings, scope, collection_id, new, ids, reuse=reuse, within=within)
            except Unavailable:
                raise  # the transaction's fate can be unknown: `sweep` judges by the rows
            except LongleafError:
                originals.discard(ids)
                raise
    except OSError as error:
        raise no_storage(error) from error
    originals.discard(i for i, entry in zip(ids, accepted, strict=True) if entry.reused)
    for item in new:
        item.upload.close()
    return accepted


def _enter(  # noqa: PLR0917
    db: Database,
    settings: Settings,
    scope: Scope,
    collection_id: str,
    new: Sequence[NewDocument],
    ids: Sequence[str],
    *,
    reuse: bool,
    within: Within | None,
) -> list[Accepted]:
    entered: dict[int, Accepted] = {}
    duplicates: list[dict[str, str | None]] = []
    with db.session() as session:
        collections = Collections(session, scope)
        collections.lock_if_limited(collection_id)
        quotas = Quotas(session, scope)
        quotas.lock_if_limited(settings)
        documents = Documents(session, scope)
        versions = Versions(session, scope)
        mine: dict[str, DocumentRow] = {}
        # In the order of the hashes: two requests with the same files can't wait for each other crosswise.
        for place in sorted(range(len(new)), key=lambda place: new[place].upload.sha256):
            item, sha256 = new[place], new[place].upload.sha256
            filename = display_filename(item.filename)
            existing = mine.get(sha256)
            if existing is None and (other := versions.pending_with(collection_id, sha256)) is not None:
                existing = documents.get(other)
            if existing is None:
                try:
                    document = documents.add(
                        collection_id,
                        title=choose_title(item.metadata.get("title"), None, filename),
                        filename=filename,
                        sha256=sha256,
                        size=item.upload.bytes,
                        meta=item.metadata,
                        document_id=ids[place],
                    )
                except Conflict as conflict:
                    existing = documents.get(conflict.extra["existing_document_id"])
                else:
                    job = jobs.enqueue(session, scope, document.id, document.generation + 1)
                    entered[place] = Accepted(document, job.id)
                    mine[sha256] = document
                    continue
            new_here = sha256 in mine
            duplicates.append(
                {"filename": filename, "existing_document_id": None if new_here else existing.id}
            )
            job = Jobs(session, scope).of_document(existing.id)
            entered[place] = Accepted(existing, job.id, reused=True)
        if duplicates and not reuse:
            raise duplicate(duplicates)
        if mine:
            collections.check_limits(collection_id)
            quotas.check(settings)
        accepted = [entered[place] for place in range(len(new))]
        if within is not None:
            for entry in accepted:
                within(session, entry.document)
    return accepted


def duplicate(duplicates: list[dict[str, str | None]]) -> Conflict:
    """The refusal of bytes that are there already: entries of `filename` and `existing_document_id`."""
    first = next((d for d in duplicates if d["existing_document_id"]), duplicates[0])
    where = first["existing_document_id"]
    held = f"are already in the collection as {where}" if where else "were sent twice in this request"
    return Conflict(
        f"the bytes of {first['filename']!r} {held}; send on_duplicate=reuse to take the existing document",
        code="duplicate_document",
        extra={"existing_document_id": where, "duplicates": duplicates},
    )


def check_metadata(metadata: dict[str, Any]) -> None:
    """Raise InvalidRequest (`invalid_metadata`) for what one of the databases could not store as JSON."""

    fault = _metadata_fault(metadata, 0)
    if fault is None and len(json.dumps(metadata)) > METADATA_LIMIT:
        fault = f"more than {METADATA_LIMIT} bytes"
    if fault:
        raise InvalidRequest(f"metadata can't be stored: it has {fault}", code="invalid_metadata")


def _metadata_fault(value: object, depth: int) -> str | None:
    fault: str | None = None
    if depth > _METADATA_DEPTH:
        fault = f"more than {_METADATA_DEPTH} levels"
    elif isinstance(value, str):
        fault = "a text with NUL or half a surrogate pair" if _unstorable(value) else None
    elif isinstance(value, float):
        fault = None if math.isfinite(value) else "a number that is not finite"
    elif isinstance(value, dict | list):
        parts = [*value.keys(), *value.values()] if isinstance(value, dict) else value
        if isinstance(value, dict) and not all(isinstance(key, str) for key in value):
            fault = "a key that is no text"
        else:
            fault = next((found for part in parts if (found := _metadata_fault(part, depth + 1))), None)
    elif value is not None and not isinstance(value, bool | int):
        fault = f"a {type(value).__name__}"
    return fault


def _unstorable(text: str) -> bool:
    return "\0" in text or any("\ud800" <= character <= "\udfff" for character in text)


def too_large(limit: int) -> TooLarge:
    """What the sender of a file beyond the limit, in bytes, is told."""
    return TooLarge(
        f"the file is larger than {limit} bytes; raise LONGLEAF_MAX_UPLOAD_BYTES or split it",
        code="too_large",
        extra={"limit": limit},
    )


def write_whole(descriptor: int, piece: bytes) -> None:
    """Write all of it, however little one call takes. Raises Unavailable (`storage_unavailable`)."""
    rest = memoryview(piece)
    try:
        while rest:
            rest = rest[os.write(descriptor, rest) :]
    except OSError as error:
        raise no_storage(error) from error


def no_storage(error: OSError) -> Unavailable:
    """What the caller is told of a data folder that can't be written."""
    return Unavailable(
        f"the file could not be stored ({error.strerror or error}); see to the data folder and try again",
        code="storage_unavailable",
    )
