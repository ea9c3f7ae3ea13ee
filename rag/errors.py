"""The exception tree of the service: each error has a stable code and the HTTP status that it maps to."""

from __future__ import annotations

from typing import Any, ClassVar


class LongleafError(Exception):
    """An error with a cause that the caller can act on.

    `code` is stable and meant for programs; `detail` is a sentence that names the value and the remedy;
    `extra` holds further members of the problem document (RFC 9457, section 3.2).
    """

    status: ClassVar[int] = 500
    default_code: ClassVar[str] = "internal_error"

    def __init__(self, detail: str, *, code: str | None = None, extra: dict[str, Any] | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.code = code or self.default_code
        self.extra = extra or {}


class InvalidRequest(LongleafError):
    """A value of the request is not one that the service can take."""

    status = 422
    default_code = "invalid_request"


class Unauthenticated(LongleafError):
    """Nobody knows who asks: no key was sent, or one that is not valid (any more)."""

    status = 401
    default_code = "unauthenticated"


class Forbidden(LongleafError):
    """Who asks is known, belongs here, and may not do this."""

    status = 403
    default_code = "forbidden"


class NotFound(LongleafError):
    """There is no such thing, or it belongs to somebody else: the two are told apart nowhere."""

    status = 404
    default_code = "not_found"


class Conflict(LongleafError):
    """The request does not fit the present state."""

    status = 409
    default_code = "conflict"


class TooLarge(LongleafError):
    """More bytes, pages or tokens than the limit."""

    status = 413
    default_code = "too_large"


class TooMany(LongleafError):
    """Somebody has used up what they may use in a minute; `retry_after` of `extra` is in seconds."""

    status = 429
    default_code = "rate_limited"


class Unavailable(LongleafError):
    """A part that the request needs is not ready; trying again later can help."""

    status = 503
    default_code = "unavailable"
