"""Collections: listing, making, changing, deleting. They are named by name, or by id."""

from __future__ import annotations

from contextlib import suppress

from fastapi import APIRouter
from sqlalchemy.orm import Session

from api import schemas, serialize
from api.access import Edits, Manages, Reads
from api.fields import CollectionName
from api.routes.shared import problems
from api.wiring import DEFAULT_COLLECTION, Service
from ingest.deletion import DeletionUnfinished, delete_collection
from ingest.keeping import reembed
from rag.errors import Conflict, NotFound
from rag.store.records import CollectionRow
from rag.store.repositories import Collections

router = APIRouter(prefix="/collections", tags=["collections"])

_NO_COLLECTION = "There is no collection of that name."


def _find(service: Service, name: str) -> CollectionRow:
    with service.db.read() as session:
        collections = Collections(session, service.scope)
        found = collections.find(name)
        if found is None and name.startswith("col_"):
            with suppress(NotFound):
                found = collections.get(name)
    if found is None:
        raise NotFound(f"There is no collection {name!r}.", code="collection_not_found")
    service.deed.of(found.id)
    return found


@router.get("", response_model=schemas.CollectionList, summary="List collections")
def list_collections(service: Reads) -> schemas.CollectionList:
    """All collections with the number of their documents."""
    with service.db.read() as session:
        collections = Collections(session, service.scope)
        shown = [_shown(session, service, row) for row in collections.list()]
    return schemas.CollectionList(collections=shown)


def _shown(session: Session, service: Service, row: CollectionRow) -> schemas.Collection:
    counts = Collections(session, service.scope).counts(row.id)
    return serialize.collection(row, counts, reembed.progress(session, service.scope, row.id))


@router.post(
    "",
    status_code=201,
    response_model=schemas.Collection,
    summary="Make a collection",
    responses=problems(s409="The name is taken (`duplicate_collection`)."),
)
def create(service: Edits, body: schemas.NewCollection) -> schemas.Collection:
    """Make an empty collection. An upload makes the one that it names by itself."""
    fingerprint = service.embedder.wait().fingerprint
    with service.db.session() as session:
        row = Collections(session, service.scope).create(body.name, fingerprint)
    service.deed.of(row.id)
    return serialize.collection(row, {})


@router.get(
    "/{name}",
    response_model=schemas.Collection,
    summary="Show a collection",
    responses=problems(s404=_NO_COLLECTION),
)
def get(service: Reads, name: CollectionName) -> schemas.Collection:
    """A collection with the number of its documents."""
    row = _find(service, name)
    with service.db.read() as session:
        return _shown(session, service, row)


@router.patch(
    "/{name}",
    response_model=schemas.Collection,
    summary="Change a collection",
    responses=problems(s404=_NO_COLLECTION),
)
def change(service: Manages, name: CollectionName, body: schemas.CollectionChange) -> schemas.Collection:
    """Set how many tokens of documents an answer from this collection reads, where the question does not
    say, and how many documents or bytes it takes in. What is there already stays."""
    row = _find(service, name)
    with service.db.session() as session:
        collections = Collections(session, service.scope)
        if "max_context_tokens" in body.model_fields_set:
            row = collections.set_budget(row.id, body.max_context_tokens)
        if "max_documents" in body.model_fields_set:
            collections.set_limit(row.id, "max_documents", body.max_documents)
        if "max_bytes" in body.model_fields_set:
            collections.set_limit(row.id, "max_bytes", body.max_bytes)
        return _shown(session, service, collections.get(row.id))


@router.delete(
    "/{name}",
    status_code=204,
    summary="Delete a collection",
    responses=problems(
        s404=_NO_COLLECTION, s409="The default collection always exists (`default_collection`)."
    ),
)
def delete(service: Manages, name: CollectionName) -> None:
    """Delete a collection and all of its documents. When this returns nothing of them can be found."""
    row = _find(service, name)
    if row.name == DEFAULT_COLLECTION:
        raise Conflict(
            "The default collection always exists; delete its documents instead.", code="default_collection"
        )
    try:
        delete_collection(service.db, service.settings, service.scope, row.id, service.forget)
    except DeletionUnfinished:
        service.forget(row.id)
        raise
    service.forget(row.id)
