"""Documents: sending, listing, watching, reading, deleting."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import FileResponse
from pydantic import TypeAdapter, ValidationError
from starlette.concurrency import run_in_threadpool

from api import schemas, serialize
from api.errors import plain_message, problem_of
from api.fields import CURSOR_PATTERN, CollectionName, document_id, parse_metadata
from api.multipart import MAX_FILES, UploadForm, read_upload
from api.routes.shared import ServiceDep, problems
from api.sse import EventStream, ServerEvent, stream_schema
from api.wiring import DEFAULT_COLLECTION, Service
from ingest import jobs
from ingest.deletion import delete_document
from ingest.uploads import Accepted, NewDocument, accept_all, blob_path
from rag.errors import InvalidRequest, NotFound
from rag.store.records import FINAL_STATUSES, DocumentRow, Status
from rag.store.repositories import Chunks, Collections, Documents

router = APIRouter(prefix="/documents", tags=["documents"])

POLL_SECONDS = 0.25
_NO_DOCUMENT = "There is no such document."
_UPLOAD_FORM: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "additionalProperties": False,
                    "properties": {
                        "file": {
                            "type": "array",
                            "items": {"type": "string", "format": "binary"},
                            "minItems": 1,
                            "maxItems": MAX_FILES,
                            "description": "One or more files; repeat the part for each.",
                        },
                        "collection": {
                            **TypeAdapter(CollectionName).json_schema(),
                            "description": "Where to put the documents; made if there is none of that name.",
                            "default": DEFAULT_COLLECTION,
                        },
                        "metadata": {
                            "type": "string",
                            "contentMediaType": "application/json",
                            "description": "A JSON object kept with every file; `title` names the document.",
                            "examples": ['{"year": 2024, "team": "legal"}'],
                        },
                    },
                }
            }
        },
    }
}
_EVENTS: dict[str, Any] = {
    "description": "Events `status` with the document, until its state is final; `error` with a problem.",
    "content": stream_schema("status", "error"),
}


@router.post(
    "",
    status_code=202,
    response_model=schemas.Upload,
    summary="Upload documents",
    openapi_extra=_UPLOAD_FORM,
    responses={
        200: {
            "model": schemas.Upload,
            "description": "Nothing new: all bytes were there (`on_duplicate=reuse`).",
        },
        **problems(
            s409="The collection has these bytes: `existing_document_id`, and `duplicates` for each file.",
            s413="A file, or the request, is larger than the limit.",
            s415="The body is no multipart/form-data.",
        ),
    },
)
async def upload(
    request: Request,
    response: Response,
    service: ServiceDep,
    on_duplicate: Annotated[
        Literal["refuse", "reuse"],
        Query(description="What to do with bytes that are in the collection already."),
    ] = "refuse",
) -> schemas.Upload:
    """Take in one or more files, streamed to disk; they are read in the background.

    Either all files are taken or none. Watch `/documents/{id}/events` for what becomes of each.
    """
    async with read_upload(request, service.settings) as form:
        accepted = await run_in_threadpool(_accept, service, form, reuse=on_duplicate == "reuse")
    if all(entry.reused for entry in accepted):
        response.status_code = 200
    return schemas.Upload(
        documents=[
            schemas.Accepted(
                id=entry.document.id,
                filename=entry.document.filename,
                status=entry.document.status,
                job_id=entry.job_id,
            )
            for entry in accepted
        ]
    )


def _accept(service: Service, form: UploadForm, *, reuse: bool) -> list[Accepted]:
    try:
        name = TypeAdapter(CollectionName).validate_python(
            form.fields.get("collection") or DEFAULT_COLLECTION
        )
    except ValidationError as error:
        message = plain_message(error.errors()[0])
        raise InvalidRequest(f"collection: {message}", code="invalid_collection_name") from None
    metadata = parse_metadata(form.fields["metadata"]) if form.fields.get("metadata") else {}
    collection = service.ensure_collection(name)
    new = [NewDocument(sink, filename, metadata) for filename, sink in form.files]
    return accept_all(service.db, service.settings, service.scope, collection.id, new, reuse=reuse)


@router.get(
    "",
    response_model=schemas.DocumentList,
    summary="List documents",
    responses=problems(s404="There is no collection of that name."),
)
def list_documents(
    service: ServiceDep,
    collection: Annotated[CollectionName | None, Query(description="Of this collection alone.")] = None,
    status: Annotated[Status | None, Query(description="In this state alone.")] = None,
    limit: Annotated[int, Query(ge=1, le=1000, description="Most documents of one page.")] = 100,
    cursor: Annotated[
        str | None, Query(pattern=CURSOR_PATTERN, description="`next_cursor` of the page before.")
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
    more = len(rows) > limit
    return schemas.DocumentList(
        documents=[serialize.document(row) for row in rows[:limit]],
        next_cursor=rows[limit - 1].id if more else None,
    )


def _load(service: Service, identity: str) -> DocumentRow:
    with service.db.read() as session:
        return Documents(session, service.scope).get(document_id(identity))


@router.get(
    "/{id}", response_model=schemas.Document, summary="Show a document", responses=problems(s404=_NO_DOCUMENT)
)
def get_document(service: ServiceDep, id: str) -> schemas.Document:
    """A document, how far its ingest is, and why it failed if it did."""
    return serialize.document(_load(service, id))


@router.delete("/{id}", status_code=204, summary="Delete a document", responses=problems(s404=_NO_DOCUMENT))
def delete(service: ServiceDep, id: str) -> None:
    """Delete a document in any state. When this returns nothing of it can be found any more."""
    delete_document(service.db, service.settings, service.scope, document_id(id), service.forget)


_TRANSITION = problems(s404=_NO_DOCUMENT, s409="The document's state does not allow it (`invalid_state`).")


@router.post(
    "/{id}/retry",
    status_code=202,
    response_model=schemas.Document,
    summary="Read again",
    responses=_TRANSITION,
)
def retry(service: ServiceDep, id: str) -> schemas.Document:
    """Queue a document that failed or was cancelled once more."""
    return serialize.document(jobs.retry(service.db, service.scope, document_id(id)))


@router.post(
    "/{id}/cancel",
    status_code=202,
    response_model=schemas.Document,
    summary="Stop reading",
    responses=_TRANSITION,
)
def cancel(service: ServiceDep, id: str) -> schemas.Document:
    """Stop a document that is queued or being read."""
    return serialize.document(jobs.cancel(service.db, service.scope, document_id(id)))


@router.get(
    "/{id}/events",
    summary="Watch a document",
    response_class=Response,
    responses={200: _EVENTS, **problems(s404=_NO_DOCUMENT)},
)
async def events(service: ServiceDep, id: str) -> EventStream:
    """Server-sent events `status` with the document, whenever it changed, until its state is final."""
    row = await run_in_threadpool(_load, service, id)
    path = f"/documents/{id}/events"

    async def changes(seen: DocumentRow) -> AsyncGenerator[ServerEvent]:
        while seen.status not in FINAL_STATUSES and not service.stopping.is_set():
            await asyncio.sleep(POLL_SECONDS)
            now = await run_in_threadpool(_load, service, id)
            if now != seen:
                seen = now
                yield _status_event(now)

    return EventStream(
        changes(row),
        first=_status_event(row),
        on_error=lambda error: ServerEvent("error", problem_of(error, path)),
    )


def _status_event(row: DocumentRow) -> ServerEvent:
    return ServerEvent("status", serialize.document(row).model_dump(mode="json"))


@router.get(
    "/{id}/chunks",
    response_model=schemas.ChunkList,
    summary="List chunks",
    responses=problems(s404=_NO_DOCUMENT),
)
def chunks(
    service: ServiceDep,
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
        **problems(s404=_NO_DOCUMENT),
    },
)
def text(
    service: ServiceDep,
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
        **problems(s404=_NO_DOCUMENT),
    },
)
def content(service: ServiceDep, id: str) -> Response:
    """The original bytes, always as an attachment that no browser renders."""
    row = _load(service, id)
    path = blob_path(service.settings, row.id)
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
def page(service: ServiceDep, id: str, number: int) -> schemas.PageText:
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
