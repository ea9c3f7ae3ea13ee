"""A document that changes: another file for it, which is read while the old one answers, and its metadata."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any, cast

from sqlalchemy.orm import Session

from ingest import jobs
from ingest.names import choose_title, display_filename, stem
from ingest.originals.choice import originals_of
from ingest.originals.port import Originals
from ingest.uploads import NewDocument, Within, check_metadata, duplicate, no_storage
from rag.errors import LongleafError, Unavailable
from rag.settings import Settings
from rag.store.records import FINAL_STATUSES, DocumentRow, Status, VersionRow
from rag.store.repositories import Changes, Collections, Documents, Jobs, Quotas, Versions
from rag.store.scope import Scope
from rag.store.session import Database

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Replaced:
    """What became of a new file: `generation` is the one that it is, or will be read as, by `job_id`."""

    document: DocumentRow
    generation: int
    job_id: str
    filename: str
    status: Status
    unchanged: bool = False


def replace_file(
    db: Database,
    settings: Settings,
    scope: Scope,
    document_id: str,
    new: NewDocument,
    *,
    within: Within | None = None,
) -> Replaced:
    """Take a finished upload as the document's next generation and queue it; durable when it returns. Its
    `metadata` has no part in it.

    The newest file wins: one that is queued or being read is given up. The live bytes once more are no new
    generation (`unchanged`), and end one on its way all the same; bytes that are on their way already go on.
    `within` is called inside the transaction. Raises NotFound; Conflict (`duplicate_document`) for bytes of
    another document of the collection; TooLarge (`collection_too_large`); Unavailable.
    """
    new.upload.make_durable()
    originals = originals_of(db, settings)
    try:
        originals.send(document_id, new.upload)
        with originals.writing(), db.session() as session:
            outcome = _enter(session, settings, scope, document_id, new, originals)
            if within is not None:
                within(session, outcome.document)
    except OSError as error:
        raise no_storage(error) from error
    except Unavailable:
        raise  # the transaction's fate can be unknown: what clears up judges by the rows
    except LongleafError:
        originals.refused(document_id, new.upload.sha256)
        raise
    _drop_old(originals, scope, document_id)
    new.upload.close()
    return outcome


def _enter(  # noqa: PLR0917
    session: Session,
    settings: Settings,
    scope: Scope,
    document_id: str,
    new: NewDocument,
    originals: Originals,
) -> Replaced:
    upload = new.upload
    documents, versions = Documents(session, scope), Versions(session, scope)
    collection_id = documents.get(document_id).collection_id
    collections = Collections(session, scope)
    # before the document, as a deletion of the collection does
    collections.share(collection_id)
    collections.lock_if_limited(collection_id)
    quotas = Quotas(session, scope)
    quotas.lock_if_limited(settings)
    document = documents.lock(document_id)
    job = Jobs(session, scope).of_document(document_id)
    coming = document.updating or (document if document.generation == 0 else None)
    if coming is not None and coming.status not in FINAL_STATUSES and coming.sha256 == upload.sha256:
        return Replaced(document, job.generation, job.id, coming.filename, cast(Status, coming.status))
    if document.generation > 0 and document.sha256 == upload.sha256:
        jobs.supersede(session, scope, document_id)
        versions.supersede(document_id)
        return Replaced(
            documents.get(document_id),
            document.generation,
            job.id,
            document.filename,
            "ready",
            unchanged=True,
        )
    _refuse_duplicate(session, scope, document, upload.sha256, new.filename)
    outcome = _queue_next(session, scope, document, new.filename, (upload.sha256, upload.bytes))
    collections.check_limits(collection_id)
    quotas.check(settings)
    # inside the transaction, for only here is the number certain
    originals.place([(document_id, outcome.generation, upload)])
    return outcome


def _queue_next(
    session: Session, scope: Scope, document: DocumentRow, filename: str, content: tuple[str, int]
) -> Replaced:
    """Enter the next generation, of bytes with this SHA-256 and number, in place of one on its way."""
    sha256, size = content
    jobs.supersede(session, scope, document.id)
    shown = display_filename(filename)
    version = Versions(session, scope).add(
        document.id,
        filename=shown,
        title=choose_title(document.meta.get("title"), None, shown),
        sha256=sha256,
        size=size,
    )
    queued = jobs.enqueue(session, scope, document.id, version.generation, size=size)
    entered = Documents(session, scope).get(document.id)
    return Replaced(entered, version.generation, queued.id, shown, "queued")


def _refuse_duplicate(
    session: Session, scope: Scope, document: DocumentRow, sha256: str, filename: str
) -> None:
    holder = Documents(session, scope).find_by_sha256(document.collection_id, sha256)
    other = holder.id if holder is not None else None
    if other in {None, document.id}:
        other = Versions(session, scope).pending_with(document.collection_id, sha256)
    if other not in {None, document.id}:
        raise duplicate([{"filename": display_filename(filename), "existing_document_id": other}])


def read_again(
    db: Database,
    settings: Settings,
    scope: Scope,
    document_id: str,
    filename: str,
    *,
    within: Within | None = None,
) -> Replaced:
    """Queue a document's bytes once more as its next generation, under another file name, which can tell what
    they are taken for. The present generation answers until that is ready. Raises NotFound, Unavailable.
    """
    originals = originals_of(db, settings)
    try:
        with originals.writing(), db.session() as session:
            documents, versions = Documents(session, scope), Versions(session, scope)
            Collections(session, scope).share(documents.get(document_id).collection_id)
            document = documents.lock(document_id)
            own = document.updating or versions.get(document_id, versions.shown(document_id))
            outcome = _queue_next(session, scope, document, filename, (own.sha256, own.bytes))
            originals.again(document_id, own.generation, outcome.generation)
            if within is not None:
                within(session, document)
    except OSError as error:
        raise no_storage(error) from error
    _drop_old(originals, scope, document_id)
    return outcome


def _drop_old(originals: Originals, scope: Scope, document_id: str) -> None:
    """What was taken in is so, whatever becomes of the files that it replaced."""
    try:
        originals.drop_old(scope, document_id)
    except (OSError, Unavailable) as error:
        log.warning("old files of %s stay until a later start: %s", document_id, error)


def rename(
    session: Session, scope: Scope, document_id: str, filename: str, meta: dict[str, Any]
) -> DocumentRow:
    """Give a document another file name and metadata; nothing is read again. A title that came from the old
    name comes from the new one.

    The caller has the document locked. Raises NotFound, InvalidRequest (`invalid_metadata`).
    """
    check_metadata(meta)
    documents, versions = Documents(session, scope), Versions(session, scope)
    before = documents.get(document_id)
    shown = display_filename(filename)
    own = versions.get(document_id, versions.shown(document_id))
    title = shown_title(meta.get("title"), own, shown)
    newest = before.updating or own
    versions.rename_unread(document_id, shown, shown_title(meta.get("title"), newest, shown))
    documents.describe(document_id, meta=meta, title=title, filename=shown)
    _tell_indexes(session, scope, before, documents.get(document_id))
    return documents.get(document_id)


def shown_title(given: object, version: VersionRow, filename: str) -> str:
    """What a document with this version is called, under the file name that it has by now."""
    named_after_file = version.title == stem(version.filename)
    return choose_title(given, None if named_after_file else version.title, filename)


def _tell_indexes(session: Session, scope: Scope, before: DocumentRow, after: DocumentRow) -> None:
    """Names are found by words: a document with another one is entered into the indexes anew."""
    if after.generation > 0 and (before.title, before.filename) != (after.title, after.filename):
        Changes(session, scope).append(after.collection_id, after.id, after.generation, "publish")


def change_metadata(db: Database, scope: Scope, document_id: str, patch: dict[str, Any]) -> DocumentRow:
    """Merge `patch` into a document's metadata (RFC 7396: null removes a member); filters see it at once.

    `title` in it changes what the document is shown as and found by, not what its chunks are embedded with:
    nothing is read again. Raises NotFound, InvalidRequest (`invalid_metadata`).
    """
    with db.session() as session:
        documents = Documents(session, scope)
        document = documents.lock(document_id)
        merged = merge_patch(document.meta, patch)
        check_metadata(merged)
        versions = Versions(session, scope)
        own = versions.get(document_id, versions.shown(document_id))
        title = shown_title(merged.get("title"), own, document.filename)
        documents.describe(document_id, meta=merged, title=title)
        _tell_indexes(session, scope, document, documents.get(document_id))
        return documents.get(document_id)


def merge_patch(target: dict[str, Any], patch: dict[str, Any]) -> dict[str, Any]:
    """RFC 7396, section 2: members of `patch` replace those of `target`, null removes, objects merge."""
    merged = dict(target)
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        elif isinstance(value, dict):
            inner = merged.get(name)
            merged[name] = merge_patch(inner if isinstance(inner, dict) else {}, value)
        else:
            merged[name] = value
    return merged
