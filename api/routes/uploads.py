"""Resumable uploads by the tus protocol 1.0: what was sent is not sent again after a broken connection."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Header, HTTPException, Request, Response
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from api import schemas, serialize, tus
from api.access import Edits
from api.fields import collection_name, document_id, parse_metadata
from api.routes.shared import load_document, problems
from api.wiring import Service
from ingest.resumable import Appending, Pending, ResumableUploads
from ingest.updates import replace_file
from ingest.uploads import NewDocument, accept_all
from rag.errors import InvalidRequest

router = APIRouter(prefix="/uploads", tags=["uploads"])

_PIECE = 1024 * 1024
_NO_UPLOAD = "There is no such upload, or it has expired."
Resumable = Annotated[
    str | None, Header(alias="Tus-Resumable", description="Version of the protocol: 1.0.0.")
]
Accept = Annotated[
    str | None, Header(alias="Accept", description="`application/json` asks for a body with the last bytes.")
]
Digest = Annotated[
    str | None,
    Header(alias="Upload-Checksum", description="`sha1`, `sha256` or `sha512`, and the digest in Base64."),
]
_BYTES: dict[str, Any] = {"content": {tus.CONTENT_TYPE: {"schema": {"type": "string", "format": "binary"}}}}
_HEADERS: dict[str, Any] = {
    name: {"description": text, "schema": {"type": "string"}}
    for name, text in (
        ("Tus-Resumable", "Version of the protocol."),
        ("Upload-Offset", "Bytes that are there."),
        ("Upload-Expires", "When the upload is given up if nothing more comes."),
        ("Longleaf-Document", "The document that it became, once it is whole."),
        ("Longleaf-Job", "The job that reads it."),
    )
}
_TAKEN = problems(
    s404=_NO_UPLOAD,
    s409="The bytes don't go on from the offset (`offset_mismatch`); or, with the last ones, the collection "
    "has them already or is full.",
    s412="`Tus-Resumable` is not 1.0.0; `Tus-Version` says what is spoken.",
    s413="More bytes than were declared, or than the limit.",
    s415="The content type is not `application/offset+octet-stream`.",
    s423="Another request is sending to this upload.",
    s460="The bytes differ from their checksum; none of this request are kept.",
)


def _uploads(service: Service) -> ResumableUploads:
    principal = service.principal
    owner = "" if principal is None or principal.kind == "local" else principal.id
    return ResumableUploads(service.settings, service.scope.workspace_id, owner)


@router.options("", status_code=204, summary="Ask what uploads can do")
def options(service: Edits) -> Response:
    """Version, extensions and limits in headers."""
    return Response(status_code=204, headers=tus.options(service.settings.max_upload_bytes))


@router.post(
    "",
    status_code=201,
    response_class=Response,
    summary="Begin a resumable upload",
    openapi_extra={"requestBody": {"required": False, **_BYTES}},
    responses={
        201: {
            "description": "It can be sent to `Location`.",
            "headers": {"Location": {"schema": {"type": "string"}}, **_HEADERS},
        },
        **_TAKEN,
        **problems(s404="There is no document of the `document_id` in `Upload-Metadata`."),
    },
)
async def create(  # noqa: PLR0917 (FastAPI calls it by name)
    request: Request,
    service: Edits,
    upload_length: Annotated[
        int, Header(alias="Upload-Length", ge=0, le=2**53, description="Bytes of the whole file.")
    ],
    tus_resumable: Resumable = None,
    upload_metadata: Annotated[
        str | None,
        Header(
            alias="Upload-Metadata",
            description="Pairs of a key and a value in Base64, between commas: `filename`, `collection`, "
            "`metadata` (a JSON object), `on_duplicate` (`refuse` or `reuse`), and `document_id` for a new "
            "version of that document. Others are ignored.",
        ),
    ] = None,
    upload_checksum: Digest = None,
) -> Response:
    """Begin an upload; its first bytes may come in the same request (creation-with-upload)."""
    tus.require_version(tus_resumable)
    checksum = tus.Checksum(upload_checksum)
    uploads = _uploads(service)
    said = tus.parse_metadata_header(upload_metadata)
    upload = await run_in_threadpool(_create, service, uploads, upload_length, said)
    if request.headers.get("content-type") == tus.CONTENT_TYPE or upload_length == 0:
        upload = await _receive(request, service, (uploads, upload, 0), checksum)
    service.deed.of(upload.id)
    headers = {**tus.state(uploads, upload), "Location": f"/uploads/{upload.id}"}
    return Response(status_code=201, headers=headers)


def _create(service: Service, uploads: ResumableUploads, length: int, said: dict[str, str]) -> Pending:
    replaces = said.get("document_id") or None
    if replaces is not None:
        load_document(service, document_id(replaces))
    on_duplicate = said.get("on_duplicate") or "refuse"
    if on_duplicate not in {"refuse", "reuse"}:
        raise InvalidRequest(
            f"on_duplicate is {on_duplicate[:40]!r}; it is `refuse` or `reuse`",
            code="invalid_upload_metadata",
        )
    collection = collection_name(said.get("collection"))
    if replaces is None:
        service.check_may_add_to(collection)
    return uploads.create(
        length,
        said.get("filename") or said.get("name") or "document",
        collection,
        metadata=parse_metadata(said["metadata"]) if said.get("metadata") else {},
        on_duplicate=on_duplicate,
        replaces=replaces,
    )


@router.head(
    "/{id}",
    response_class=Response,
    summary="Ask how far an upload is",
    responses={
        200: {"description": "How far it is.", "headers": _HEADERS},
        **problems(s404=_NO_UPLOAD, s412="`Tus-Resumable` is not 1.0.0.", s423="It is being taken in."),
    },
)
def head(service: Edits, id: str, tus_resumable: Resumable = None) -> Response:
    """`Upload-Offset` says from where to go on; `Longleaf-Document` what a whole one became."""
    tus.require_version(tus_resumable)
    uploads = _uploads(service)
    upload = uploads.get(id)
    if upload.document_id is None and uploads.offset(upload) == upload.length:
        upload = _take_in(service, uploads, upload, reuse=True)  # it was broken off right before its end
    return Response(status_code=200, headers=tus.state(uploads, upload))


@router.patch(
    "/{id}",
    status_code=204,
    response_class=Response,
    summary="Send bytes of an upload",
    openapi_extra={"requestBody": {"required": True, **_BYTES}},
    responses={
        202: {
            "model": schemas.Upload,
            "description": "It is whole and taken in; the body is that of an upload by form. For clients "
            "that ask for `application/json`.",
            "headers": _HEADERS,
        },
        204: {"description": "The bytes are on the disk.", "headers": _HEADERS},
        **_TAKEN,
    },
)
async def append(  # noqa: PLR0917 (FastAPI calls it by name)
    request: Request,
    service: Edits,
    id: str,
    upload_offset: Annotated[
        int, Header(alias="Upload-Offset", ge=0, le=2**53, description="Where these bytes begin.")
    ],
    tus_resumable: Resumable = None,
    upload_checksum: Digest = None,
    accept: Accept = None,
) -> Response:
    """Send the next bytes. With the last ones the file is taken in, as by `POST /documents`.

    What came before a connection broke is kept: ask with HEAD, and go on from there.
    """
    tus.require_version(tus_resumable)
    checksum = tus.Checksum(upload_checksum)
    uploads = _uploads(service)
    upload = await run_in_threadpool(uploads.get, id)
    if request.headers.get("content-type") != tus.CONTENT_TYPE:
        raise HTTPException(415, f"Bytes of an upload are sent as {tus.CONTENT_TYPE}.")
    upload = await _receive(request, service, (uploads, upload, upload_offset), checksum)
    headers = tus.state(uploads, upload)
    if upload.document_id is None or "application/json" not in (accept or ""):
        return Response(status_code=204, headers=headers)
    row = await run_in_threadpool(load_document, service, upload.document_id)
    body = serialize.accepted(row, upload.job_id or "").model_dump_json()
    return Response(body, 202, headers, media_type="application/json")


@router.delete(
    "/{id}",
    status_code=204,
    response_class=Response,
    summary="Give an upload up",
    responses={
        204: {"description": "It is gone.", "headers": {"Tus-Resumable": _HEADERS["Tus-Resumable"]}},
        **problems(s404=_NO_UPLOAD, s412="`Tus-Resumable` is not 1.0.0."),
    },
)
def delete(service: Edits, id: str, tus_resumable: Resumable = None) -> Response:
    """Remove what was sent. A document that an upload became stays."""
    tus.require_version(tus_resumable)
    uploads = _uploads(service)
    uploads.delete(uploads.get(id))
    return Response(status_code=204, headers={"Tus-Resumable": tus.VERSION})


async def _receive(
    request: Request, service: Service, place: tuple[ResumableUploads, Pending, int], checksum: tus.Checksum
) -> Pending:
    """Write the request's body to the upload, and take it in when it is whole."""
    uploads, upload, offset = place
    if upload.document_id is not None:
        return upload
    opened = uploads.append(upload, offset)
    appending = await run_in_threadpool(opened.__enter__)
    failure: BaseException | None = None
    try:
        await _write(request, appending, checksum)
    except ClientDisconnect as error:
        failure = error  # what came is kept, unless nobody can tell whether it is right
        await run_in_threadpool(_keep_or_undo, appending, checksum)
    except BaseException as error:
        failure = error
    await run_in_threadpool(opened.__exit__, None, None, None)
    if failure is not None:
        raise failure
    if appending.offset < upload.length:
        return upload
    return await run_in_threadpool(_take_in, service, uploads, upload, reuse=False)


async def _write(request: Request, appending: Appending, checksum: tus.Checksum) -> None:
    pending = bytearray()

    def write() -> None:
        piece = bytes(pending)
        pending.clear()
        checksum.update(piece)
        appending.write(piece)

    try:
        async for piece in request.stream():
            pending += piece
            if len(pending) >= _PIECE:
                await run_in_threadpool(write)
    finally:
        if pending:
            await run_in_threadpool(write)
    _keep_or_undo(appending, checksum)


def _keep_or_undo(appending: Appending, checksum: tus.Checksum) -> None:
    try:
        checksum.check()
    except tus.ChecksumMismatch:
        appending.undo()
        raise


def _take_in(service: Service, uploads: ResumableUploads, upload: Pending, *, reuse: bool) -> Pending:
    """Make a document, or a version of one, of a whole upload. What is refused for good is given up."""
    with uploads.whole(upload) as file:
        new = NewDocument(file, upload.filename, upload.metadata)
        where = (service.db, service.settings, service.scope)
        if upload.replaces is not None:
            replaced = replace_file(*where, upload.replaces, new)
            service.deed.of(replaced.document.id)
            return uploads.finished(upload, replaced.document.id, replaced.job_id)
        collection = service.ensure_collection(upload.collection)
        reuse = reuse or upload.on_duplicate == "reuse"
        entry = accept_all(*where, collection.id, [new], reuse=reuse)[0]
        service.deed.of(entry.document.id)
        return uploads.finished(upload, entry.document.id, entry.job_id)
