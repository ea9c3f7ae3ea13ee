"""What an operation asks of whoever carries it out, so that it is written once for both clients."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias, TypeVar

import httpx

Result = TypeVar("Result")


@dataclass(frozen=True)
class Call:
    """One request; the response comes back with its body read, and is a success."""

    method: str
    path: str
    params: Mapping[str, Any] = field(default_factory=dict)
    json: Any = None
    content: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    repeatable: bool = True
    """Whether sending it again is harmless where nobody knows if it arrived."""


@dataclass(frozen=True)
class Pause:
    """Some seconds of waiting."""

    seconds: float


@dataclass(frozen=True)
class Piece:
    """Bytes of the file that is sent: at most `size` from `offset` on."""

    offset: int
    size: int


Steps: TypeAlias = Generator[Call | Pause | Piece, Any, Result]
"""An operation: it yields what it needs and is sent what came of it; its return value is the result."""


def ask(call: Call) -> Steps[httpx.Response]:
    """The response to one call."""
    response: httpx.Response = yield call
    return response


def without_none(values: Mapping[str, Any]) -> dict[str, Any]:
    """The members that were given."""
    return {name: value for name, value in values.items() if value is not None}
