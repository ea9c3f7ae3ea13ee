"""Sending documents."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response
from pydantic import TypeAdapter
from starlette.concurrency import run_in_threadpool

from api import schemas, serialize
from api.access import Edits
from api.fields import CollectionName, collection_name, parse_metadata
from api.multipart import MAX_FILES, UploadForm, read_upload
from api.routes.shared import NO_DOCUMENT, load_document, problems
from api.wiring import DEFAULT_COLLECTION, Service
from ingest.updates import replace_file
from ingest.uploads import Accepted, NewDocument, accept_all

router = APIRouter(prefix="/documents", tags=["documents"])

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
_REPLACEMENT_FORM: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "additionalProperties": False,
                    "properties": {
                        "file": {"type": "string", "format": "binary", "description": "The new file."}
                    },
                }
            }
        },
    }
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
            s409="The collection has these bytes: `existing_document_id`, `duplicates`. Or it, or the "
            "workspace, has as many documents as it may.",
            s413="A file, or the request, is larger than the limit; or the collection or workspace would be.",
            s415="The body is no multipart/form-data.",
        ),
    },
)
async def upload(
    request: Request,
    response: Response,
    service: Edits,
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
    service.deed.of(*(entry.document.id for entry in accepted))
    if all(entry.reused for entry in accepted):
        response.status_code = 200
    return serialize.upload(accepted)


def _accept(service: Service, form: UploadForm, *, reuse: bool) -> list[Accepted]:
    name = collection_name(form.fields.get("collection"))
    metadata = parse_metadata(form.fields["metadata"]) if form.fields.get("metadata") else {}
    collection = service.ensure_collection(name)
    new = [NewDocument(sink, filename, metadata) for filename, sink in form.files]
    return accept_all(service.db, service.settings, service.scope, collection.id, new, reuse=reuse)


@router.put(
    "/{id}",
    status_code=202,
    response_model=schemas.Update,
    summary="Replace a document's file",
    openapi_extra=_REPLACEMENT_FORM,
    responses={
        200: {
            "model": schemas.Update,
            "description": "These bytes answer already (`unchanged`).",
        },
        **problems(
            s404=NO_DOCUMENT,
            s409="Another document of the collection has these bytes: `existing_document_id` names it.",
            s413="The file, or the request, is larger than the limit; or the collection would be.",
            s415="The body is no multipart/form-data.",
        ),
    },
)
async def replace(request: Request, response: Response, service: Edits, id: str) -> schemas.Update:
    """Take in another file as the document's next version. The present one answers until that is ready.

    Of several files sent one after the other the last one wins. Chunks whose text stays the same are not
    embedded again. Title, collection and metadata stay; a title that was taken from the file is taken anew.
    """
    await run_in_threadpool(load_document, service, id)
    async with read_upload(request, service.settings, fields=frozenset(), most_files=1) as form:
        filename, sink = form.files[0]
        replaced = await run_in_threadpool(
            replace_file, service.db, service.settings, service.scope, id, NewDocument(sink, filename)
        )
    if replaced.unchanged:
        response.status_code = 200
    return serialize.replacement(replaced)
