"""What comes out of a generation, event by event."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

FinishReason: TypeAlias = Literal["stop", "stop_string", "length", "cancelled"]


@dataclass(frozen=True)
class PrefillProgress:
    """How far the prompt has been read.

    Attributes:
        read: prompt tokens whose keys and values are in the cache, reused ones included.
        total: prompt tokens.
        cached: how many of `read` were there from an earlier request.
    """

    read: int
    total: int
    cached: int


@dataclass(frozen=True)
class TokenEvent:
    """One new token.

    Attributes:
        text: what became certain by it; empty while a character or a possible stop string is incomplete.
        index: 0 for the first new token.
        logprob: its log-probability, where `SamplingParams.logprobs` asks for it.
        top_logprobs: the most probable tokens with theirs, where `SamplingParams.top_logprobs` asks for them.
    """

    token_id: int
    text: str
    index: int
    logprob: float | None = None
    top_logprobs: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True)
class Finished:
    """The last event of every generation.

    Attributes:
        reason: "stop" (a stop id), "stop_string", "length" (max_tokens, or the context is full), "cancelled".
        text: the whole answer: the texts of all events, and what was held back to the end.
        completion_tokens: new tokens, a stop id included.
    """

    reason: FinishReason
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    text: str


Event: TypeAlias = PrefillProgress | TokenEvent | Finished
