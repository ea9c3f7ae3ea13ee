"""The bare model's work: a dialogue or a prompt to steps, several choices at a time."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from api.v1.events import Called, Ended, Piece, Reason, Score, Started, Step, Usage
from api.v1.failures import as_requests
from model import (
    Engine,
    Event,
    Finished,
    PrefillProgress,
    SamplingParams,
    TextDelta,
    TokenEvent,
    ToolCallEnd,
    ToolDefinition,
    ToolEvent,
)
from model.text.tools import write_json
from rag.errors import Unavailable


@dataclass(frozen=True)
class Chat:
    """A dialogue to be answered by the bare model.

    Attributes:
        messages: as the engine's chat formats render them.
        tools: those that may be called.
        choices: how many answers.
        parallel: whether an answer may hold several calls.
        salt: the workspace, whose KV cache is shared with no other.
    """

    messages: Sequence[dict[str, Any]]
    params: SamplingParams
    salt: str
    tools: tuple[ToolDefinition, ...] = ()
    choices: int = 1
    parallel: bool = True


def chat(engine: Engine, work: Chat, cancel: threading.Event) -> Iterator[Step]:
    """Steps of all choices, as they come. Raises InvalidRequest, Unavailable."""
    with as_requests():
        runs = [
            engine.chat(work.messages, params, tools=work.tools, cancel=cancel, salt=work.salt)
            for params in varied(work.params, work.choices)
        ]
        yield Started()
        yield from together(
            [
                _choice(engine, number, events, tools=bool(work.tools), parallel=work.parallel)
                for number, events in enumerate(runs)
            ]
        )


@dataclass(frozen=True)
class Bare:
    """The bare model as one request uses it."""

    engine: Engine
    salt: str
    cancel: threading.Event

    def continuation(self, number: int, ids: Sequence[int], params: SamplingParams) -> Iterator[Step]:
        """Steps of what follows a prompt, as the choice of that number. Raises ModelError."""
        events = self.engine.generate(ids, params, cancel=self.cancel, salt=self.salt)
        return _choice(self.engine, number, events, tools=False, parallel=True, closing=True)

    def scores(self, ids: Sequence[int], k: int) -> tuple[Score, ...]:
        """What the model thinks of each token of a prompt, with the `k` likeliest in its place.

        Raises ModelError; Unavailable where the work was cancelled.
        """
        first = score_of(self.engine, ids[0], None, ())
        if len(ids) == 1:
            return (first,)
        ranked = self.engine.rank(ids, k, cancel=self.cancel, salt=self.salt)
        if ranked is None:
            raise Unavailable("The service is stopping.", code="stopping")
        rows = zip(
            ids[1:],
            ranked.logprobs.tolist(),
            ranked.top_ids.tolist(),
            ranked.top_logprobs.tolist(),
            strict=True,
        )
        rest = (
            score_of(self.engine, token, logprob, zip(best, values, strict=True))
            for token, logprob, best, values in rows
        )
        return (first, *rest)


def varied(params: SamplingParams, choices: int) -> list[SamplingParams]:
    """Parameters of each choice: a seed gives each its own."""
    if params.seed is None:
        return [params] * choices
    return [replace(params, seed=(params.seed + number) % 2**63) for number in range(choices)]


def together(runs: Sequence[Iterator[Step]]) -> Iterator[Step]:
    """The steps of several runs, one of each in turn; the engine works on all at a time."""
    left = list(runs)
    try:
        while left:
            for run in list(left):
                step = next(run, None)
                if step is None:
                    left.remove(run)
                else:
                    yield step
    finally:
        for run in left:
            with suppress(AttributeError):
                run.close()  # type: ignore[attr-defined]


def score_of(engine: Engine, token: int, logprob: float | None, top: Iterable[tuple[int, float]]) -> Score:
    """A token's score in bytes."""
    text, control = engine.tokenizer.token_bytes, engine.tokenizer.is_control(token)
    return Score(text(token), logprob, tuple((text(other), value) for other, value in top), control)


def _choice(
    engine: Engine,
    number: int,
    events: Iterator[Event | ToolEvent],
    *,
    tools: bool,
    parallel: bool,
    closing: bool = False,
) -> Iterator[Step]:
    """Steps of one choice; with `closing`, the token that ends it has its score too.

    A call is given when it is whole: one that breaks off turns out to be text, which could not be taken back.
    """
    scores: list[Score] = []
    read = cached = written = calls = 0
    said = 0

    def ended(reason: Reason) -> Ended:
        return Ended(number, reason, Usage(read, cached, written))

    for event in events:
        match event:
            case PrefillProgress(total=total, cached=known):
                read, cached = total, known
            case TokenEvent():
                written += 1
                shown = closing or event.token_id not in engine.tokenizer.stop_ids
                if event.logprob is not None and shown:
                    scores.append(score_of(engine, event.token_id, event.logprob, event.top_logprobs))
                said += len(event.text)
                if not tools and (event.text or scores):
                    yield Piece(number, event.text, _taken(scores))
            case TextDelta(text=text):
                yield Piece(number, text, _taken(scores))
            case ToolCallEnd(call=call):
                arguments = call.arguments if isinstance(call.arguments, str) else write_json(call.arguments)
                yield Called(number, calls, f"call_{secrets.token_hex(12)}", call.name, arguments)
                calls += 1
                if not parallel:
                    events.close()  # type: ignore[attr-defined]
                    break
            case Finished(reason="cancelled"):
                # Its client is gone, or the service is going.
                raise Unavailable("The service is stopping.", code="stopping")
            case Finished():
                rest = "" if tools else event.text[said:]
                if rest or scores:
                    yield Piece(number, rest, _taken(scores))
                read, cached, written = event.prompt_tokens, event.cached_tokens, event.completion_tokens
                if not calls:
                    yield ended("length" if event.reason == "length" else "stop")
                    return
    yield ended("tool_calls")


def _taken(scores: list[Score]) -> tuple[Score, ...]:
    taken = tuple(scores)
    scores.clear()
    return taken
