"""The OpenAPI document: what FastAPI finds out, and the errors that every route shares."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from api.access import declared
from api.routes.shared import problems
from api.schemas import Problem
from api.v1 import errors as openai_errors
from api.v1.schemas.base import OpenAIError
from api.version import version

_DESCRIPTION = """Reads documents and answers questions about them with quotes that can be checked.

Offsets count Unicode code points of a document's canonical text (`/documents/{id}/text`). Times are UTC.
Errors are problem documents (RFC 9457) with a stable `code`."""
_TAGS = [
    {"name": "documents", "description": "Sending documents, watching them being read, reading their text."},
    {"name": "uploads", "description": "Large files, sent in several requests (tus 1.0)."},
    {"name": "questions", "description": "Asking and searching."},
    {"name": "collections", "description": "Documents that are searched together."},
    {"name": "openai", "description": "What OpenAI's clients call; errors have OpenAI's form."},
    {"name": "people", "description": "Keys, users, roles and workspaces; who one is."},
    {"name": "operations", "description": "Health, readiness, versions."},
]
_ALWAYS = problems(
    s400="The request can't be read: malformed JSON or form, or a `Host` that is not the service's.",
    s500="Something went wrong in the service (`internal_error`); its log has the details.",
    s503="A part is not ready, too much is asked at a time (`overloaded`), or the database does not answer; "
    "`Retry-After` says when to try again.",
)
_WITH_INPUT = problems(s422="A value is not one that the service takes; `errors` names each.")
_WITH_BODY = problems(s413="The body is larger than the limit.")
_GUARDED = problems(
    s401="Nobody knows who asks: a key is needed, or the one sent is not valid.",
    s403="Your role does not allow this (`forbidden`).",
    s429="What may be used in a minute is used (`rate_limited`); `Retry-After` says for how long.",
)
_WRITES = problems(
    s403="A page of another site asks (`cross_origin`), or your role does not allow it (`forbidden`)."
)
_SCHEME = {"key": {"type": "http", "scheme": "bearer", "description": "An API key: `llf_…`."}}


def install(app: FastAPI, *, keys: bool) -> None:
    """Make `app.openapi()` describe the errors as they are sent and, with `keys`, that keys are asked for."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _describe(app, keys=keys)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _describe(app: FastAPI, *, keys: bool) -> dict[str, Any]:
    document = get_openapi(
        title="Longleaf", version=version(), description=_DESCRIPTION, tags=_TAGS, routes=app.routes
    )
    schemas = document["components"]["schemas"]
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    schemas["Problem"] = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas["OpenAIError"] = OpenAIError.model_json_schema(ref_template="#/components/schemas/{model}")
    if keys:
        document["components"]["securitySchemes"] = _SCHEME
    open_to_all = {
        (route.path, method.lower())
        for route, need in declared(app)
        if need == "anyone"
        for method in route.methods or ()
    }
    for name, path in document["paths"].items():
        for method, operation in path.items():
            shared = dict(_ALWAYS)
            if (name, method) not in open_to_all:
                shared |= _GUARDED
                if keys:
                    operation["security"] = [{"key": []}]
            if operation.get("parameters") or "requestBody" in operation:
                shared |= _WITH_INPUT
            if "requestBody" in operation:
                shared |= _WITH_BODY
            if method not in {"get", "head", "options"}:
                shared |= _WRITES
            responses = operation["responses"]
            responses.pop("422", None)
            for status, description in shared.items():
                responses.setdefault(str(status), description)
            if openai_errors.concerns(name):
                _as_openai(responses)
            operation["responses"] = dict(sorted(responses.items()))
    return document


def _as_openai(responses: dict[str, Any]) -> None:
    """Let errors be documented in OpenAI's form, which has 400 where ours has 422."""
    responses.pop("422", None)
    schema = {"$ref": "#/components/schemas/OpenAIError"}
    for status, response in responses.items():
        if not status.startswith("2"):
            responses[status] = {
                "description": response["description"],
                "content": {"application/json": {"schema": schema}},
            }
