"""Pieces of OpenAI's answers that chat, completions and responses have in common."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from fastapi.sse import format_sse_event

from api.v1.events import Mark, Score, Step, Usage


class Presenter(Protocol):
    """One way to show steps: fed with them in order, it gives a stream's parts or, at the end, the whole."""

    def take(self, step: Step) -> Iterable[StreamPart]:
        """The parts of the stream that a step makes."""
        ...

    def close(self) -> Iterable[StreamPart]:
        """The parts behind the last step."""
        ...

    def body(self) -> dict[str, Any]:
        """The whole answer, once all steps were taken."""
        ...


@dataclass(frozen=True)
class StreamPart:
    """An event of a stream; `event` is its type where it has one, data that is None ends the stream."""

    data: Mapping[str, Any] | None
    event: str | None = None

    def encode(self) -> bytes:
        """Return the event as it goes over the wire."""
        return format_sse_event(event=self.event, data_str="[DONE]" if self.data is None else text(self.data))


DONE = StreamPart(None)


def text(data: Mapping[str, Any]) -> str:
    """JSON of an answer; half of a surrogate pair, which UTF-8 cannot say, becomes a question mark."""
    said = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    return said.encode("utf-8", "replace").decode()


def new_id(kind: str) -> str:
    """An identifier such as `chatcmpl-…`, which nothing can be looked up by."""
    return f"{kind}{secrets.token_hex(14)}"


def now() -> int:
    """Seconds since 1970."""
    return int(time.time())


def usage_of(usage: Usage) -> dict[str, Any]:
    """`usage` of chat and completions."""
    return {
        "prompt_tokens": usage.prompt,
        "completion_tokens": usage.completion,
        "total_tokens": usage.prompt + usage.completion,
        "prompt_tokens_details": {"cached_tokens": usage.cached, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": 0,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def logprob_of(score: Score) -> dict[str, Any]:
    """A token's log-probability as chat and responses have it."""
    top = [_token(token, value) for token, value in score.top]
    return {**_token(score.token, score.logprob or 0.0), "top_logprobs": top}


def _token(token: bytes, logprob: float) -> dict[str, Any]:
    return {"token": token.decode("utf-8", "replace"), "logprob": logprob, "bytes": list(token)}


def source_url(base: str, mark: Mark) -> str:
    """Where the cited text stands, word for word."""
    return f"{base}documents/{mark.document_id}/text?start={mark.first}&end={mark.last}"
