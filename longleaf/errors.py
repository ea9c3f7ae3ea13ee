"""What can go wrong, as exceptions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class LongleafError(Exception):
    """Anything that a client raises; the arguments of a call that are plainly wrong raise ValueError."""


class Unreachable(LongleafError):
    """No answer came from the service, however often it was tried."""


class ApiError(LongleafError):
    """The service answered with a problem (RFC 9457)."""

    def __init__(self, status: int, problem: Mapping[str, Any]) -> None:
        self.status = status
        """The HTTP status."""
        self.code = str(problem.get("code", "unknown"))
        """Stable and for programs: one of those in the list of errors of the HTTP API."""
        self.detail = str(problem.get("detail", ""))
        """What was wrong, with which value, and what to do."""
        self.request_id: str | None = problem.get("request_id")
        """Names the request in the service's log."""
        self.problem = dict(problem)
        """All members; some codes bring further ones."""
        super().__init__(f"{self.detail or self.code} [{status} {self.code}]")


class NotReady(LongleafError):
    """A document that was waited for failed or was cancelled; the message says why."""
