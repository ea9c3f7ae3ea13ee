"""The one mapping from exceptions to RFC 9457 problem documents."""

from __future__ import annotations

import errno
import http
import json
import logging
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import iter_route_contexts
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException
from starlette.routing import Match

from api.v1 import errors as openai_errors
from rag.errors import LongleafError

log = logging.getLogger(__name__)

PROBLEM_JSON = "application/problem+json"
_RETRY_SECONDS = "5"
_SERVICE_UNAVAILABLE = 503
_CODES = {400: "malformed_body", 404: "not_found", 405: "method_not_allowed", 413: "too_large"}
_MAX_ERRORS = 20
_FULL = (507, "disk_full", "The disk of the service is full; delete documents first.")
_UNUSABLE = (503, "storage_unavailable", "The data folder can't be used now; see to it and try again.")
_DISK_TROUBLE = dict.fromkeys((errno.ENOSPC, errno.EDQUOT), _FULL) | dict.fromkeys(
    (errno.EIO, errno.EROFS, errno.EFBIG, errno.EMFILE, errno.ENFILE, errno.ENOMEM), _UNUSABLE
)


def problem(
    status: int, code: str, detail: str, instance: str, extra: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return the members of a problem document; `extra` never replaces a standard member."""
    members: dict[str, Any] = _printable(
        dict(extra or {})
        | {
            "type": f"urn:longleaf:problem:{code}",
            "title": code.replace("_", " ").capitalize(),
            "status": status,
            "detail": detail,
            "code": code,
            "instance": instance,
        }
    )
    return members


def problem_of(error: Exception, instance: str) -> dict[str, Any]:
    """Return the problem document of any exception; what is not foreseen says nothing of its insides."""
    if isinstance(error, LongleafError):
        return problem(error.status, error.code, error.detail, instance, error.extra)
    if isinstance(error, RequestValidationError):
        return _invalid(error, instance)
    if isinstance(error, HTTPException):
        code = _CODES.get(error.status_code, http.HTTPStatus(error.status_code).phrase.lower())
        return problem(error.status_code, code.replace(" ", "_"), str(error.detail), instance)
    if isinstance(error, OperationalError | InterfaceError | PoolTimeout) or (
        isinstance(error, DBAPIError) and error.connection_invalidated
    ):
        log.error("database: %s", error.__class__.__name__, exc_info=error)
        return problem(503, "database_unavailable", "The database does not answer; try again soon.", instance)
    if isinstance(error, OSError) and error.errno in _DISK_TROUBLE:
        log.error("the data folder can't be used: %s", error, exc_info=error)
        return problem(*_DISK_TROUBLE[error.errno], instance)
    log.error("unforeseen error", exc_info=error)
    return problem(
        500, "internal_error", "Something went wrong in the service; its log has the details.", instance
    )


def problem_response(body: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> Response:
    """Return the HTTP response of a problem document; under `/v1` it has OpenAI's form."""
    openai = openai_errors.concerns(str(body["instance"]))
    status = openai_errors.status_of(body) if openai else int(body["status"])
    sent = dict(headers or {})
    if status == http.HTTPStatus.UNAUTHORIZED:
        # RFC 6750, section 3: no error code where nothing was shown
        fault = "" if body["code"] == "unauthenticated" else ', error="invalid_token"'
        sent.setdefault("WWW-Authenticate", f'Bearer realm="Longleaf"{fault}')
    if (seconds := body.get("retry_after")) is not None:
        sent.setdefault("Retry-After", str(seconds))
    if status == _SERVICE_UNAVAILABLE:
        sent.setdefault("Retry-After", _RETRY_SECONDS)
    members = openai_errors.error_of(body) if openai else body
    content = json.dumps(members, ensure_ascii=False, separators=(",", ":")).encode()
    return Response(content, status, sent, media_type="application/json" if openai else PROBLEM_JSON)


def install(app: FastAPI) -> None:
    """Answer every exception that a route raises with its problem document."""

    async def handle(request: Request, error: Exception) -> Response:
        headers = dict(getattr(error, "headers", None) or {})
        body = problem_of(error, request.url.path)
        if body["status"] == http.HTTPStatus.METHOD_NOT_ALLOWED:
            allowed = allowed_methods(request)
            headers["Allow"] = ", ".join(allowed)
            body["detail"] = f"{request.method} is not possible here; possible: {', '.join(allowed)}."
        elif isinstance(error, HTTPException) and body["status"] == http.HTTPStatus.NOT_FOUND:
            body["detail"] = f"There is nothing at {body['instance']}; /docs lists what there is."
        return problem_response(body, headers)

    for kind in (
        LongleafError,
        RequestValidationError,
        HTTPException,
        OperationalError,
        InterfaceError,
        PoolTimeout,
        OSError,
    ):
        app.add_exception_handler(kind, handle)


def allowed_methods(request: Request) -> list[str]:
    """Return the methods of all routes of the request's path (RFC 9110, section 10.2.1), sorted."""
    methods: set[str] = set()
    for route in iter_route_contexts(request.app.routes):
        match, _ = route.matches(request.scope)
        if match is not Match.NONE:
            methods |= set(getattr(route, "methods", None) or ())
    return sorted(methods)


def _invalid(error: RequestValidationError, instance: str) -> dict[str, Any]:
    found = error.errors()
    if any(entry["type"] == "json_invalid" for entry in found):
        position = found[0]["loc"][-1]
        reason = found[0].get("ctx", {}).get("error", "")
        return problem(400, "malformed_json", f"The body is not JSON: {reason} at {position}.", instance)
    errors = [
        # the value itself is left out: it may be long, or secret
        {"field": _field(entry["loc"]), "message": plain_message(entry), "type": entry["type"]}
        for entry in found[:_MAX_ERRORS]
    ]
    detail = "; ".join(f"{entry['field']}: {entry['message']}" for entry in errors[:3])
    return problem(422, "invalid_request", detail, instance, {"errors": errors})


def plain_message(entry: Mapping[str, Any]) -> str:
    """Return the message of one of pydantic's errors, without the prefix that it gives to ours."""
    return str(entry["msg"]).removeprefix("Value error, ")


def _field(location: tuple[str | int, ...]) -> str:
    """Return `question` or `document_ids.3` for ("body", "document_ids", 3)."""
    parts = location[1:] if len(location) > 1 and location[0] in {"body", "query", "path"} else location
    return ".".join(str(part) for part in parts)


def _printable(value: Any) -> Any:
    """Replace lone surrogates, which JSON input can carry and UTF-8 output can't."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {_printable(key): _printable(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_printable(entry) for entry in value]
    return value
