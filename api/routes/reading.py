"""Reading a document: chunks, text, pages and the original."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response
from fastapi.responses import FileResponse

from api import schemas, serialize
from api.access import Reads
from api.fields import document_id
from api.routes.shared import NO_DOCUMENT, load_document, problems
from ingest.blobs import blob_path
from rag.errors import NotFound
from rag.store.repositories import Chunks, Documents, Versions

router = APIRouter(prefix="/documents", tags=["documents"])


@router.get(
    "/{id}/chunks",
    response_model=schemas.ChunkList,
    summary="List chunks",
    responses=problems(s404=NO_DOCUMENT),
)
def chunks(
    service: Reads,
    id: str,
    limit: Annotated[int, Query(ge=1, le=1000, description="Most chunks of one page.")] = 100,
    cursor: Annotated[int, Query(ge=0, le=2**31 - 1, description="`next_cursor` of the page before.")] = 0,
) -> schemas.ChunkList:
    """Chunks of a document in the order of its text; none before it is ready."""
    with service.db.read() as session:
        rows = Chunks(session, service.scope).of_document(document_id(id), first=cursor, limit=limit + 1)
        shown = rows[:limit]
        texts = Documents(session, service.scope).text_slices(id, [(row.start, row.end) for row in shown])
    return schemas.ChunkList(
        chunks=[serialize.chunk(row, text) for row, text in zip(shown, texts, strict=True)],
        next_cursor=rows[limit].ordinal if len(rows) > limit else None,
    )


@router.get(
    "/{id}/text",
    summary="Read the text",
    response_class=Response,
    responses={
        200: {
            "description": "The canonical text.",
            "content": {"text/plain": {"schema": {"type": "string"}}},
        },
        **problems(s404=NO_DOCUMENT),
    },
)
def text(
    service: Reads,
    id: str,
    start: Annotated[int, Query(ge=0, le=2**53, description="First code point.")] = 0,
    end: Annotated[int | None, Query(ge=0, le=2**53, description="After the last code point.")] = None,
) -> Response:
    """The canonical text, or a part of it: offsets everywhere in this API count its Unicode code points."""
    with service.db.read() as session:
        documents = Documents(session, service.scope)
        length = documents.get(document_id(id)).characters
        if start == 0 and end is None:
            content = documents.text(id)
        else:
            stop = length if end is None else min(end, length)
            content = documents.text_slices(id, [(min(start, stop), stop)])[0]
    return Response(content, media_type="text/plain; charset=utf-8")


@router.get(
    "/{id}/content",
    summary="Download the original",
    response_class=Response,
    responses={
        200: {
            "description": "The bytes that were uploaded, as an attachment.",
            "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
        },
        206: {
            "description": "The part that `Range` asked for.",
            "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
        },
        416: {"description": "There is no such part.", "content": {"text/plain": {}}},
        **problems(s404=NO_DOCUMENT),
    },
)
def content(service: Reads, id: str) -> Response:
    """The original bytes, always as an attachment that no browser renders."""
    row = load_document(service, id)
    with service.db.read() as session:
        shown = Versions(session, service.scope).shown(row.id)
    path = blob_path(service.settings, row.id, shown)
    if not path.is_file():
        raise NotFound(f"The original of {row.id!r} is not in the data folder.", code="content_not_found")
    return FileResponse(
        path,
        media_type="application/octet-stream",
        filename=row.filename,
        headers={
            "Content-Security-Policy": "sandbox; default-src 'none'",
            "Cache-Control": "private, no-cache",
        },
    )


@router.get(
    "/{id}/pages/{number}",
    response_model=schemas.PageText,
    summary="Read a page",
    responses=problems(s404="There is no such document, or it has no such page (`page_not_found`)."),
)
def page(service: Reads, id: str, number: int) -> schemas.PageText:
    """One page's text and its place in the canonical text; pages count from 1."""
    with service.db.read() as session:
        documents = Documents(session, service.scope)
        row = documents.get(document_id(id))
        if not 1 <= number <= max(1, row.pages_total):
            raise NotFound(
                f"Document {id!r} has no page {number}; it has {row.pages_total}.", code="page_not_found"
            )
        found = documents.page(id, number)
        content = documents.text_slices(id, [(found.start, found.end)])[0]
    return schemas.PageText(
        number=found.number, start_char_index=found.start, end_char_index=found.end, text=content
    )
