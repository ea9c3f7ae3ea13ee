"""What comes out of a generation or an answer, step by step, whichever door shows it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

Reason: TypeAlias = Literal["stop", "length", "tool_calls"]


@dataclass(frozen=True)
class Started:
    """The first prompt is being read: from here on errors come within the stream."""


@dataclass(frozen=True)
class Score:
    """A token with its log-probability (None for the first of a prompt) and the likeliest in its place.

    A `control` token is no part of the text.
    """

    token: bytes
    logprob: float | None
    top: tuple[tuple[bytes, float], ...] = ()
    control: bool = False


@dataclass(frozen=True)
class Piece:
    """The next text of a choice; `scores` are those of the tokens that it came with, where asked for."""

    choice: int
    text: str
    scores: tuple[Score, ...] = ()


@dataclass(frozen=True)
class Called:
    """A call of a tool, whole; `arguments` is JSON text."""

    choice: int
    index: int
    id: str
    name: str
    arguments: str


@dataclass(frozen=True)
class Usage:
    """Tokens of one choice; `prompt` is counted once for all choices of it."""

    prompt: int = 0
    cached: int = 0
    completion: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.prompt + other.prompt, self.cached + other.cached, self.completion + other.completion
        )


@dataclass(frozen=True)
class Ended:
    """A choice is complete."""

    choice: int
    reason: Reason
    usage: Usage


@dataclass(frozen=True)
class Mark:
    """A citation's mark in the text, `[start, end)` in code points; behind the text where it has none."""

    start: int
    end: int
    document_id: str
    title: str
    filename: str
    first: int
    last: int


@dataclass(frozen=True)
class Answered:
    """An answer from documents is complete: its marks, and the body that `POST /query` would have had."""

    marks: tuple[Mark, ...]
    body: dict[str, Any] = field(repr=False)


Step: TypeAlias = Started | Piece | Called | Ended | Answered
