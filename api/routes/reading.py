"""Reading a document: chunks, text, pages and the original."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Annotated

from fastapi import APIRouter, Header, Query, Response
from fastapi.responses import FileResponse, StreamingResponse

from api import schemas, serialize
from api.access import Reads
from api.fields import document_id
from api.ranges import UNSATISFIABLE, attachment, range_of
from api.routes.shared import NO_DOCUMENT, OF_DOCUMENTS, load_document, original_found, page_of, problems
from ingest.originals.choice import originals_of
from rag.store.repositories import Chunks, Documents, Versions

BYTES = "application/octet-stream"

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
def content(
    service: Reads,
    id: str,
    asked: Annotated[str | None, Header(alias="Range", include_in_schema=False)] = None,
    unless_changed: Annotated[str | None, Header(alias="If-Range", include_in_schema=False)] = None,
) -> Response:
    """The original bytes, always as an attachment that no browser renders."""
    row = load_document(service, id)
    with service.db.read() as session:
        versions = Versions(session, service.scope)
        version = versions.get(row.id, versions.shown(row.id))
    originals = originals_of(service.db, service.settings)
    headers = dict(OF_DOCUMENTS)
    with original_found(row.id, originals):
        path = originals.lies_at(row.id, version.generation)
        if path is not None:
            return FileResponse(path, media_type=BYTES, filename=row.filename, headers=headers)
        tag = f'"{version.sha256}"'
        wanted = range_of(asked, version.bytes) if unless_changed in {None, tag} else None
        headers |= {"Accept-Ranges": "bytes", "ETag": tag, "Content-Disposition": attachment(row.filename)}
        if wanted == UNSATISFIABLE:
            return Response(status_code=416, headers={"Content-Range": f"bytes */{version.bytes}"})
        start, end = wanted or (0, version.bytes)
        pieces = _begun(originals.read(row.id, version.generation, start, end))
    headers["Content-Length"] = str(end - start)
    if wanted is not None:
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{version.bytes}"
    return StreamingResponse(pieces, 206 if wanted else 200, media_type=BYTES, headers=headers)


def _begun(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """The same pieces, the first of which is there: what is wrong with it is wrong now."""
    first = next(pieces, b"")
    return chain([first], pieces)


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
        found = page_of(documents, row, number)
        content = documents.text_slices(id, [(found.start, found.end)])[0]
    return schemas.PageText(
        number=found.number, start_char_index=found.start, end_char_index=found.end, text=content
    )
