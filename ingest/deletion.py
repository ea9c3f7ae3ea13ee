"""Deletion that is complete when it returns: rows, text, vectors, files, and what was made of them."""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import partial

from sqlalchemy import delete
from sqlalchemy.orm import Session

from ingest.keeping.kv import purge_blocks
from ingest.originals.choice import originals_of
from rag.errors import NotFound, Unavailable
from rag.settings import Settings
from rag.store.records import DocumentRow
from rag.store.repositories import Changes, Collections, Documents, Generations, Versions, Webhooks
from rag.store.scope import Scope
from rag.store.session import Database
from rag.store.tables import IngestJob

OnDeleted = Callable[[str, str], None]
"""Called with (collection_id, document_id) after the commit, to take the document out of the live indexes
their snapshots and an engine's memory. May raise OSError or Unavailable."""


class DeletionUnfinished(Unavailable):
    """The documents are gone, but the machine did not let all that was made of them be removed yet."""

    default_code = "deletion_unfinished"


def delete_document(
    db: Database, settings: Settings, scope: Scope, document_id: str, on_deleted: OnDeleted | None = None
) -> None:
    """Delete a document in any state; a worker that is reading it can write nothing more.

    Raises NotFound, Unavailable; DeletionUnfinished once it is deleted and something of it is left.
    """
    with db.session() as session:
        document = Documents(session, scope).lock(document_id)
        files = _delete_rows(session, scope, document)
    _finish(db, settings, [document], files, on_deleted)


def delete_documents(
    db: Database,
    settings: Settings,
    scope: Scope,
    document_ids: Collection[str],
    on_deleted: OnDeleted | None = None,
) -> list[str]:
    """Delete documents together, in one transaction; returns those that were there.

    Raises as `delete_document`, but for NotFound.
    """
    documents: list[DocumentRow] = []
    files: list[tuple[str, int]] = []
    with db.session() as session:
        for document_id in sorted(document_ids):
            try:
                document = Documents(session, scope).lock(document_id)
            except NotFound:
                continue
            files += _delete_rows(session, scope, document)
            documents.append(document)
    if documents:
        _finish(db, settings, documents, files, on_deleted)
    return [document.id for document in documents]


def delete_collection(
    db: Database, settings: Settings, scope: Scope, collection_id: str, on_deleted: OnDeleted | None = None
) -> None:
    """Delete a collection and all its documents in one transaction. Raises as `delete_document`."""
    documents: list[DocumentRow] = []
    files: list[tuple[str, int]] = []
    with db.session() as session:
        Collections(session, scope).lock(collection_id)
        repository = Documents(session, scope)
        while page := repository.list(collection_id=collection_id, limit=500):
            for document in sorted(page, key=lambda row: row.id):
                files += _delete_rows(session, scope, repository.lock(document.id))
                documents.append(document)
        Collections(session, scope).delete(collection_id)
    _finish(db, settings, documents, files, on_deleted)


def _delete_rows(session: Session, scope: Scope, document: DocumentRow) -> list[tuple[str, int]]:
    """Returns the document's id with each generation whose original may still lie there."""
    sent = {row.generation for row in Versions(session, scope).list(document.id)} | {1, document.generation}
    session.execute(delete(IngestJob).where(IngestJob.document_id == document.id))
    Generations(session, scope).drop_all(document.id)
    Changes(session, scope).append(document.collection_id, document.id, document.generation, "delete")
    Documents(session, scope).delete(document.id)
    Webhooks(session, scope).announce(
        "document.deleted", document.id, document.collection_id, generation=document.generation
    )
    return [(document.id, generation) for generation in sorted(sent)]


def _finish(
    db: Database,
    settings: Settings,
    documents: list[DocumentRow],
    files: list[tuple[str, int]],
    on_deleted: OnDeleted | None,
) -> None:
    # The file goes after the commit: before it, a rollback would leave a document without its file. What a
    # crash leaves here, or a disk that refuses, `sweep` removes at the next start.
    undone: list[Exception] = []

    def attempt(action: Callable[[], object]) -> None:
        try:
            action()
        except (OSError, Unavailable) as error:
            undone.append(error)

    attempt(lambda: originals_of(db, settings).remove(files))
    for document in documents:
        # An engine first forgets what it holds in memory, and then writes no more of it.
        if on_deleted is not None:
            attempt(partial(on_deleted, document.collection_id, document.id))
    if on_deleted is None:  # nobody here knows what is in which file
        attempt(partial(_drop_shared, db, settings, {document.collection_id for document in documents}))
    attempt(partial(purge_blocks, db, settings, *(document.id for document in documents)))
    attempt(db.scrub)
    if undone:
        raise DeletionUnfinished(
            f"{len(documents)} document(s) are deleted and found no more, but not all that they left could "
            f"be removed ({undone[0]}); the next start removes it, or longleaf gc"
        ) from undone[0]


def _drop_shared(db: Database, settings: Settings, collection_ids: Collection[str]) -> None:
    """Remove the collections' snapshots from the shared place, if there is one."""
    if not settings.objects:
        return
    from rag.index.shared import SharedSnapshots  # noqa: PLC0415  # loads FAISS

    if (shared := SharedSnapshots.of(db, settings)) is not None:
        for collection_id in collection_ids:
            shared.drop(collection_id)
