"""Sending documents."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response
from pydantic import TypeAdapter, ValidationError
from starlette.concurrency import run_in_threadpool

from api import schemas
from api.errors import plain_message
from api.fields import CollectionName, parse_metadata
from api.multipart import MAX_FILES, UploadForm, read_upload
from api.routes.shared import ServiceDep, problems
from api.wiring import DEFAULT_COLLECTION, Service
from ingest.uploads import Accepted, NewDocument, accept_all
from rag.errors import InvalidRequest

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
