"""Documents: listing, showing, changing what is said of them, retrying, cancelling, deleting."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from api import schemas, serialize
from api.access import Edits, Reads
from api.fields import CollectionName, document_id, id_pattern
from api.routes.shared import NO_DOCUMENT, load_document, page, problems
from api.wiring import DEFAULT_COLLECTION
from ingest import jobs
from ingest.deletion import delete_document
from ingest.updates import change_metadata
from rag.errors import NotFound
from rag.store.records import Status
from rag.store.repositories import Collections, Documents, Versions

router = APIRouter(prefix="/documents", tags=["documents"])


@router.get(
    "",
    response_model=schemas.DocumentList,
    summary="List documents",
    responses=problems(s404="There is no collection of that name."),
)
def list_documents(
    service: Reads,
    collection: Annotated[CollectionName | None, Query(description="Of this collection alone.")] = None,
    status: Annotated[Status | None, Query(description="In this state alone.")] = None,
    limit: Annotated[int, Query(ge=1, le=1000, description="Most documents of one page.")] = 100,
    cursor: Annotated[
        str | None, Query(pattern=id_pattern("doc"), description="`next_cursor` of the page before.")
    ] = None,
) -> schemas.DocumentList:
    """Documents, newest first."""
    with service.db.read() as session:
        collection_id = None
        if collection is not None:
            found = Collections(session, service.scope).find(collection)
            if found is None and collection == DEFAULT_COLLECTION:
                return schemas.DocumentList(documents=[], next_cursor=None)
            if found is None:
                raise NotFound(f"There is no collection {collection!r}.", code="collection_not_found")
            collection_id = found.id
        rows = Documents(session, service.scope).list(
            collection_id=collection_id, status=status, limit=limit + 1, before=cursor
        )
    shown, after = page(rows, limit)
    return schemas.DocumentList(documents=[serialize.document(row) for row in shown], next_cursor=after)


@router.get(
    "/{id}", response_model=schemas.Document, summary="Show a document", responses=problems(s404=NO_DOCUMENT)
)
def get_document(service: Reads, id: str) -> schemas.Document:
    """A document, how far its ingest is, and why it failed if it did."""
    return serialize.document(load_document(service, id))


@router.patch(
    "/{id}",
    response_model=schemas.Document,
    summary="Change a document's metadata",
    responses=problems(s404=NO_DOCUMENT),
)
def change(service: Edits, id: str, body: schemas.DocumentChange) -> schemas.Document:
    """Merge into the metadata; filters go by it at once, and nothing is read or embedded again.

    `title` in it names the document from now on; what its chunks are embedded with changes with its file.
    """
    row = change_metadata(service.db, service.scope, document_id(id), body.metadata)
    return serialize.document(row)


@router.get(
    "/{id}/versions",
    response_model=schemas.VersionList,
    summary="List versions",
    responses=problems(s404=NO_DOCUMENT),
)
def versions(service: Reads, id: str) -> schemas.VersionList:
    """What the document was sent as, newest first. Text and original are kept of the version that answers,
    and of a newer one while it is on its way."""
    with service.db.read() as session:
        rows = Versions(session, service.scope).list(document_id(id))
    return schemas.VersionList(versions=[serialize.version(row) for row in rows])


@router.delete("/{id}", status_code=204, summary="Delete a document", responses=problems(s404=NO_DOCUMENT))
def delete(service: Edits, id: str) -> None:
    """Delete a document in any state. When this returns nothing of it can be found any more."""
    delete_document(service.db, service.settings, service.scope, document_id(id), service.forget)


_TRANSITION = problems(s404=NO_DOCUMENT, s409="The document's state does not allow it (`invalid_state`).")


@router.post(
    "/{id}/retry",
    status_code=202,
    response_model=schemas.Document,
    summary="Read again",
    responses=_TRANSITION,
)
def retry(service: Edits, id: str) -> schemas.Document:
    """Queue a document that failed or was cancelled once more."""
    return serialize.document(jobs.retry(service.db, service.scope, document_id(id)))


@router.post(
    "/{id}/cancel",
    status_code=202,
    response_model=schemas.Document,
    summary="Stop reading",
    responses=_TRANSITION,
)
def cancel(service: Edits, id: str) -> schemas.Document:
    """Stop a document that is queued or being read."""
    return serialize.document(jobs.cancel(service.db, service.scope, document_id(id)))
