"""When a request is sent again, and how long that waits."""

from __future__ import annotations

import email.utils
import json
import random
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import httpx

from longleaf.errors import ApiError, Unreachable
from longleaf.steps import Call

BUSY = frozenset({429, 502, 503, 504})
"""Refused before anything was done, so that every request may be sent again."""
_LONGEST = 30.0


@dataclass(frozen=True)
class Retries:
    """Attempts and the pauses between them."""

    most: int = 4
    """Times that a request is sent again."""
    first: float = 0.25
    """Seconds before the first of them; each pause is twice as long as the one before, and a chance part."""

    def pause(self, call: Call, attempt: int, outcome: httpx.Response | httpx.TransportError) -> float | None:
        """Seconds until `call` is sent again after `attempt` times (from 1), or None to let it be."""
        if attempt > self.most:
            return None
        grown = min(_LONGEST, self.first * 2 ** (attempt - 1)) * random.uniform(0.5, 1.0)
        if isinstance(outcome, httpx.Response):
            if outcome.status_code not in BUSY:
                return None
            asked = _retry_after(outcome.headers.get("retry-after"))
            return grown if asked is None else max(grown, asked) if asked <= _LONGEST else None
        never_sent = isinstance(outcome, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout)
        return grown if call.repeatable or never_sent else None


def _retry_after(text: str | None) -> float | None:
    """Seconds of a Retry-After header (RFC 9110, section 10.2.3), None where there is none to be read."""
    if text is None:
        return None
    if text.isdecimal():
        return float(text)
    try:
        when = email.utils.parsedate_to_datetime(text)
    except ValueError:
        return None
    return max(0.0, (when - datetime.now(UTC)).total_seconds())


def failure(response: httpx.Response) -> ApiError:
    """The error that a response tells of."""
    problem: Any = None
    with suppress(json.JSONDecodeError, UnicodeDecodeError):
        problem = response.json()
    if not isinstance(problem, Mapping) or "detail" not in problem:
        problem = {"detail": f"{response.request.url} answered {response.status_code} without saying why"}
    known = {"request_id": response.headers.get("x-request-id"), **problem}
    return ApiError(response.status_code, known)


def unreachable(base_url: httpx.URL, error: httpx.TransportError) -> Unreachable:
    """The error for a service from which no answer came."""
    return Unreachable(
        f"{base_url} does not answer: {error or type(error).__name__}. Is the service running?"
    )
