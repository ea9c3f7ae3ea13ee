"""What the routes have in common: documents, where a request wants to look, and the errors they declare."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, Protocol, TypeVar

from fastapi import Query

from api.errors import PROBLEM_JSON
from api.fields import document_id as checked_id
from api.wiring import DEFAULT_COLLECTION, Service
from ingest.originals.port import Originals
from rag.errors import InvalidRequest, LongleafError, NotFound
from rag.filters import parse_filter
from rag.store.records import DocumentRow, PageRow
from rag.store.repositories import Documents

if TYPE_CHECKING:
    from rag.retrieval import SearchScope

NO_DOCUMENT = "There is no such document."
OF_DOCUMENTS = {
    "Content-Security-Policy": "sandbox; default-src 'none'",
    "Cache-Control": "private, no-cache",
}
"""Fields of an answer made of a document's bytes: no browser runs it, and each use is asked for anew."""


def load_document(service: Service, identity: str) -> DocumentRow:
    """The document of that id. Raises NotFound (`document_not_found`)."""
    with service.db.read() as session:
        return Documents(session, service.scope).get(checked_id(identity))


@contextmanager
def original_found(document_id: str, originals: Originals) -> Iterator[None]:
    """An original that is not where it should be, or not what it was, is `content_not_found` (NotFound)."""
    try:
        yield
    except FileNotFoundError:
        raise NotFound(
            f"The original of {document_id!r} is not in {originals.where}.", code="content_not_found"
        ) from None
    except LongleafError as error:
        if error.code != "file_damaged":
            raise
        raise NotFound(error.detail, code="content_not_found") from error


def page_of(documents: Documents, row: DocumentRow, number: int) -> PageRow:
    """A page of a document, counted from 1. Raises NotFound (`page_not_found`)."""
    if not 1 <= number <= max(1, row.pages_total):
        raise NotFound(
            f"Document {row.id!r} has no page {number}; it has {row.pages_total}.", code="page_not_found"
        )
    return documents.page(row.id, number)


Limit = Annotated[int, Query(ge=1, le=500, description="How many at most.")]


class _Identified(Protocol):
    @property
    def id(self) -> str: ...


Row = TypeVar("Row", bound=_Identified)


def page(rows: Sequence[Row], limit: int) -> tuple[Sequence[Row], str | None]:
    """The first `limit` of rows of which one more was asked for, and `next_cursor`: the last one's id, if
    there are more."""
    return rows[:limit], rows[limit - 1].id if len(rows) > limit else None


def problems(**described: str) -> dict[int | str, dict[str, Any]]:
    """Declare error answers: `problems(s404="There is no such document.")`."""
    schema = {"$ref": "#/components/schemas/Problem"}
    return {
        int(status.removeprefix("s")): {"description": text, "content": {PROBLEM_JSON: {"schema": schema}}}
        for status, text in described.items()
    }


def search_scope(
    service: Service,
    collection: str | None,
    document_ids: Sequence[str] | None,
    filters: dict[str, Any] | None,
) -> SearchScope:
    """Find out where a request wants to look.

    Raises NotFound (`collection_not_found`, `document_not_found`), InvalidRequest (`several_collections`,
    `invalid_filter`).
    """
    from rag.retrieval import SearchScope  # noqa: PLC0415 (the start does not wait for FAISS)

    condition = None if filters is None else parse_filter(filters)
    wanted = None if document_ids is None else frozenset(checked_id(each) for each in document_ids)
    workspace = service.scope.workspace_id
    if wanted is None:
        found = service.collection(collection or DEFAULT_COLLECTION).id
        service.deed.of(found)
        return SearchScope(workspace, found, None, condition)
    with service.db.read() as session:
        rows = Documents(session, service.scope).many(sorted(wanted))
    for each in sorted(wanted):
        if each not in rows:
            raise NotFound(f"There is no document {each!r}.", code="document_not_found")
    owners = {row.collection_id: row.collection for row in rows.values()}
    if collection is not None:
        chosen = service.collection(collection)
        if set(owners) != {chosen.id}:
            elsewhere = next(row for row in rows.values() if row.collection_id != chosen.id)
            raise NotFound(
                f"Document {elsewhere.id!r} is not in the collection {collection!r}.",
                code="document_not_found",
            )
    elif len(owners) > 1:
        names = ", ".join(sorted(owners.values()))
        raise InvalidRequest(
            f"The documents are of several collections ({names}); ask about one collection at a time.",
            code="several_collections",
        )
    service.deed.of(*owners, *sorted(wanted))
    return SearchScope(workspace, next(iter(owners)), wanted, condition)
