"""Errors under `/v1` in OpenAI's form: a problem document, said as its clients read it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

PREFIX = "/v1/"
_INVALID = 422
_OWN_CODES = {
    "missing": "missing_required_parameter",
    "extra_forbidden": "unknown_parameter",
    "unsupported_parameter": "unsupported_parameter",
}
_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "invalid_request_error",
    429: "rate_limit_error",
}
_SERVER = 500


def concerns(path: str) -> bool:
    """Whether errors of a request to this path are in OpenAI's form."""
    return path.startswith(PREFIX)


def status_of(problem: Mapping[str, Any]) -> int:
    """The HTTP status: OpenAI's service answers 400 to a value that it does not take."""
    status = int(problem["status"])
    return 400 if status == _INVALID else status


def error_of(problem: Mapping[str, Any]) -> dict[str, Any]:
    """The body of an error."""
    status = status_of(problem)
    code, param = str(problem["code"]), problem.get("param")
    entries = problem.get("errors") or ()
    if entries:
        first = entries[0]
        param = _name(str(first["field"]))
        code = _OWN_CODES.get(first["type"], "invalid_value")
    if code == "model_not_found":
        param = "model"
    kind = "server_error" if status >= _SERVER else _TYPES.get(status, "invalid_request_error")
    error = {"message": problem["detail"], "type": kind, "param": param, "code": code}
    return {"error": error, **{key: problem[key] for key in ("request_id",) if key in problem}}


def _name(field: str) -> str:
    """`messages[0].content` for `messages.0.user.content.str`: without the names of the kinds tried."""
    kept: list[str] = []
    for part in field.split("."):
        if re.fullmatch(r"\d+", part) and kept:
            kept[-1] += f"[{part}]"
        elif re.fullmatch(r"[a-z_]+", part) and part not in _KINDS:
            kept.append(part)
    return ".".join(kept)


_KINDS = frozenset(
    {"str", "int", "user", "system", "developer", "assistant", "tool", "function-wrap", "json_object"}
)
