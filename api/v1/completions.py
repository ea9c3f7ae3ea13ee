"""Completions: texts continued by the bare model, and the log-probabilities of what was given."""

from __future__ import annotations

import codecs
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from api.v1 import generating
from api.v1.events import Ended, Piece, Score, Started, Step, Usage
from api.v1.failures import as_requests
from api.v1.generating import Bare
from api.v1.naming import collection_of
from api.v1.sampling import sampling
from api.v1.schemas.completions import CompletionRequest
from api.v1.shape import DONE, StreamPart, new_id, now, usage_of
from api.wiring import Service
from model import Engine, SamplingParams
from rag.errors import InvalidRequest

_MOST_TOKENS = 16
"""OpenAI's default."""
_MOST_CHOICES = 256


@dataclass(frozen=True)
class _Prompt:
    """One prompt: what is read, and what it is echoed as."""

    ids: list[int]
    text: str


def steps(service: Service, body: CompletionRequest, cancel: threading.Event) -> Iterator[Step]:
    """Steps of all continuations. Raises InvalidRequest, NotFound, Unavailable."""
    _check(service, body)
    engine = service.engine.wait()
    most = _MOST_TOKENS if body.max_tokens is None else body.max_tokens
    with as_requests():
        prompts = _prompts(engine, body.prompt)
        params = sampling(
            body, max(1, most), logprobs=body.logprobs is not None, top_logprobs=body.logprobs or 0
        )
        bare, choices = Bare(engine, service.scope.workspace_id, cancel), body.n or 1
        runs: list[Iterator[Step]] = []
        if most:
            for number, prompt in enumerate(prompts):
                for nth, varied in enumerate(generating.varied(params, choices)):
                    runs.append(bare.continuation(number * choices + nth, prompt.ids, varied))
        yield Started()
        if body.echo:
            for number, prompt in enumerate(prompts):
                yield from _echoes(bare, number * choices, choices, prompt, params)
        if not most:
            for number, prompt in enumerate(prompts):
                for nth in range(choices):
                    yield Ended(number * choices + nth, "length", Usage(prompt=len(prompt.ids)))
        yield from generating.together(runs)


def _check(service: Service, body: CompletionRequest) -> None:
    if collection_of(service, body.model) is not None:
        raise InvalidRequest(
            f"{body.model} answers questions and continues no texts; ask longleaf/raw for it.",
            code="model_not_possible",
            extra={"param": "model"},
        )
    if body.best_of not in (None, body.n or 1):
        raise InvalidRequest(
            f"best_of is {body.best_of}; only the value of n is possible.",
            code="unsupported_parameter",
            extra={"param": "best_of"},
        )
    if body.max_tokens == 0 and not body.echo:
        raise InvalidRequest(
            "max_tokens is 0, which makes sense only with echo: true.",
            code="invalid_value",
            extra={"param": "max_tokens"},
        )
    if choices_of(body) > _MOST_CHOICES:
        raise InvalidRequest(
            f"That makes {choices_of(body)} choices; {_MOST_CHOICES} are possible.",
            code="invalid_value",
            extra={"param": "n"},
        )


def choices_of(body: CompletionRequest) -> int:
    """How many continuations there will be."""
    several = isinstance(body.prompt, list) and not isinstance(body.prompt[0], int)
    return (len(body.prompt) if several else 1) * (body.n or 1)


def _prompts(engine: Engine, given: Any) -> list[_Prompt]:
    if isinstance(given, str):
        return [_of_text(engine, given)]
    if isinstance(given[0], int):
        return [_of_ids(engine, given)]
    return [_of_text(engine, each) if isinstance(each, str) else _of_ids(engine, each) for each in given]


def _of_text(engine: Engine, text: str) -> _Prompt:
    begin = engine.tokenizer.bos_id
    ids = engine.tokenizer.encode(text)
    return _Prompt(ids if begin is None else [begin, *ids], text)


def _of_ids(engine: Engine, ids: list[int]) -> _Prompt:
    return _Prompt(list(ids), engine.tokenizer.decode(ids))


def _echoes(bare: Bare, first: int, choices: int, prompt: _Prompt, params: SamplingParams) -> Iterator[Step]:
    """The prompt as the beginning of each of its choices, with what the model thought of its tokens."""
    scores = bare.scores(prompt.ids, params.top_logprobs) if params.logprobs and prompt.ids else ()
    for number in range(first, first + choices):
        yield Piece(number, prompt.text, scores)


class _Offsets:
    """Counts the characters before each token of a text that comes in bytes."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._characters = 0

    def next(self, score: Score) -> int:
        at = self._characters
        if not score.control:
            self._characters += len(self._decoder.decode(score.token))
        return at


@dataclass
class _Choice:
    text: list[str] = field(default_factory=list)
    logprobs: list[dict[str, Any]] = field(default_factory=list)
    offsets: _Offsets = field(default_factory=_Offsets)
    reason: str | None = None


class CompletionPresenter:
    """Shows steps as one `text_completion`, or as several with a piece each."""

    def __init__(self, body: CompletionRequest) -> None:
        self._head = {
            "id": new_id("cmpl-"),
            "object": "text_completion",
            "created": now(),
            "model": body.model,
        }
        self._logprobs = body.logprobs is not None
        self._per_prompt = body.n or 1
        self._choices = [_Choice() for _ in range(choices_of(body))]
        self._usage = Usage()
        options = body.stream_options
        self._include_usage = bool(options and options.include_usage)

    def take(self, step: Step) -> Iterable[StreamPart]:
        """See `Presenter.take`."""
        match step:
            case Piece():
                choice = self._choices[step.choice]
                choice.text.append(step.text)
                scored = self._scored(choice, step.scores)
                if scored is not None:
                    choice.logprobs.append(scored)
                yield self._part(step.choice, step.text, scored, None)
            case Ended():
                self._choices[step.choice].reason = step.reason
                first = step.choice % self._per_prompt == 0
                self._usage += step.usage if first else Usage(completion=step.usage.completion)
                yield self._part(step.choice, "", None, step.reason)
            case _:
                pass

    def close(self) -> Iterable[StreamPart]:
        """See `Presenter.close`."""
        if self._include_usage:
            yield StreamPart({**self._head, "choices": [], "usage": usage_of(self._usage)})
        yield DONE

    def body(self) -> dict[str, Any]:
        """See `Presenter.body`."""
        choices = [
            {
                "index": number,
                "text": "".join(choice.text),
                "logprobs": _joined(choice.logprobs) if self._logprobs else None,
                "finish_reason": choice.reason,
            }
            for number, choice in enumerate(self._choices)
        ]
        return {**self._head, "choices": choices, "usage": usage_of(self._usage)}

    def _part(
        self, number: int, text: str, logprobs: dict[str, Any] | None, reason: str | None
    ) -> StreamPart:
        choice = {"index": number, "text": text, "logprobs": logprobs, "finish_reason": reason}
        usage = {"usage": None} if self._include_usage else {}
        return StreamPart({**self._head, "choices": [choice], **usage})

    def _scored(self, choice: _Choice, scores: Sequence[Score]) -> dict[str, Any] | None:
        if not self._logprobs:
            return None
        return {
            "tokens": [name_of(score.token) for score in scores],
            "token_logprobs": [score.logprob for score in scores],
            "top_logprobs": [_top(score) for score in scores],
            "text_offset": [choice.offsets.next(score) for score in scores],
        }


def _top(score: Score) -> dict[str, float] | None:
    if score.logprob is None:
        return None
    found: dict[str, float] = {}
    for token, value in score.top:
        found.setdefault(name_of(token), value)  # the best of those that look alike
    return found


def name_of(token: bytes) -> str:
    """A token's text, or `bytes:\\xe2\\x80` where it is part of a character, as OpenAI writes it."""
    try:
        return token.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in token)


def _joined(parts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    names = ("tokens", "token_logprobs", "top_logprobs", "text_offset")
    return {name: [entry for part in parts for entry in part[name]] for name in names}
