"""Chat completions: a request to work, and its steps as `chat.completion` or as chunks."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from api.v1 import documents, generating
from api.v1.dialogue import asked, engine_messages
from api.v1.events import Answered, Called, Ended, Mark, Piece, Score, Started, Step, Usage
from api.v1.failures import as_requests
from api.v1.naming import collection_of
from api.v1.sampling import sampling, seed_of
from api.v1.schemas.chat import ChatRequest
from api.v1.shape import DONE, StreamPart, logprob_of, new_id, now, source_url, usage_of
from api.v1.tools import held
from api.wiring import Service
from rag.errors import InvalidRequest


def steps(service: Service, body: ChatRequest, cancel: threading.Event) -> Iterator[Step]:
    """Steps of a chat completion. Raises InvalidRequest, NotFound, Unavailable."""
    collection = collection_of(service, body.model)
    if collection is None:
        yield from _bare(service, body, cancel)
    else:
        yield from _asked(service, body, collection, cancel)


def _bare(service: Service, body: ChatRequest, cancel: threading.Event) -> Iterator[Step]:
    if body.longleaf is not None:
        raise InvalidRequest(
            "longleaf is for answers from documents; name a model longleaf/<collection>.",
            code="unsupported_parameter",
            extra={"param": "longleaf"},
        )
    if body.top_logprobs and not body.logprobs:
        raise InvalidRequest(
            "top_logprobs needs logprobs: true.", code="invalid_value", extra={"param": "top_logprobs"}
        )
    engine = service.engine.wait()
    with as_requests():
        hold = held(body.tools, body.tool_choice, body.response_format)
        params = sampling(
            body,
            most_tokens(body) or engine.context_length,
            constraint=hold.schema,
            logprobs=bool(body.logprobs),
            top_logprobs=body.top_logprobs or 0,
        )
    work = generating.Chat(
        engine_messages(body.messages),
        params,
        service.scope.workspace_id,
        hold.tools,
        body.n or 1,
        body.parallel_tool_calls is not False,
    )
    yield from generating.chat(engine, work, cancel)


def _asked(service: Service, body: ChatRequest, collection: str, cancel: threading.Event) -> Iterator[Step]:
    free = body.response_format is None or body.response_format.type == "text"
    documents.refuse(
        {
            "n": None if body.n == 1 else body.n,
            "logprobs": body.logprobs,
            "top_logprobs": body.top_logprobs,
            "tools": body.tools if body.tool_choice != "none" else None,
            "response_format": None if free else body.response_format,
            "stop": body.stop,
            "logit_bias": body.logit_bias,
        }
    )
    question, history = asked(body.messages)
    values = {
        "question": question,
        "history": history,
        "collection": collection,
        "temperature": body.temperature,
        "seed": seed_of(body.seed),
        **(body.longleaf.given() if body.longleaf else {}),
    }
    yield from documents.answer(service, documents.question(values, most_tokens(body)), cancel)


def most_tokens(body: ChatRequest) -> int | None:
    """The limit under its newer or its older name."""
    return body.max_completion_tokens or body.max_tokens


@dataclass
class _Choice:
    text: list[str] = field(default_factory=list)
    scores: list[Score] = field(default_factory=list)
    calls: list[dict[str, Any]] = field(default_factory=list)
    annotations: list[dict[str, Any]] = field(default_factory=list)
    reason: str | None = None


class ChatPresenter:
    """Shows steps as one `chat.completion`, or as chunks of it."""

    def __init__(self, body: ChatRequest, base_url: str) -> None:
        self._head = {"id": new_id("chatcmpl-"), "created": now(), "model": body.model}
        self._base = base_url
        self._logprobs = bool(body.logprobs)
        self._choices = [_Choice() for _ in range(body.n or 1)]
        self._usage = Usage()
        self._answer: dict[str, Any] | None = None
        options = body.stream_options
        self._include_usage = bool(options and options.include_usage)

    def take(self, step: Step) -> Iterable[StreamPart]:
        """See `Presenter.take`."""
        match step:
            case Started():
                for number in range(len(self._choices)):
                    yield self._chunk(number, {"role": "assistant", "content": ""})
            case Piece():
                choice = self._choices[step.choice]
                choice.text.append(step.text)
                choice.scores += step.scores
                yield self._chunk(step.choice, {"content": step.text}, scores=step.scores)
            case Called():
                call = {
                    "id": step.id,
                    "type": "function",
                    "function": {"name": step.name, "arguments": step.arguments},
                }
                self._choices[step.choice].calls.append(call)
                yield self._chunk(step.choice, {"tool_calls": [{"index": step.index, **call}]})
            case Answered(marks=marks):
                self._answer = step.body
                annotations = [self._annotation(mark) for mark in marks]
                self._choices[0].annotations = annotations
                yield self._chunk(0, {"annotations": annotations}, longleaf=step.body)
            case Ended():
                self._choices[step.choice].reason = step.reason
                self._usage += step.usage if step.choice == 0 else Usage(completion=step.usage.completion)
                yield self._chunk(step.choice, {}, reason=step.reason)

    def close(self) -> Iterable[StreamPart]:
        """See `Presenter.close`."""
        if self._include_usage:
            yield StreamPart(
                {
                    **self._head,
                    "object": "chat.completion.chunk",
                    "choices": [],
                    "usage": usage_of(self._usage),
                }
            )
        yield DONE

    def body(self) -> dict[str, Any]:
        """See `Presenter.body`."""
        answer = {} if self._answer is None else {"longleaf": self._answer}
        return {
            **self._head,
            "object": "chat.completion",
            "choices": [self._whole(number, choice) for number, choice in enumerate(self._choices)],
            "usage": usage_of(self._usage),
            "service_tier": "default",
            **answer,
        }

    def _whole(self, number: int, choice: _Choice) -> dict[str, Any]:
        text = "".join(choice.text)
        message: dict[str, Any] = {
            "role": "assistant",
            "content": None if choice.calls and not text else text,
            "refusal": None,
            "annotations": choice.annotations,
        }
        if choice.calls:
            message["tool_calls"] = choice.calls
        return {
            "index": number,
            "message": message,
            "logprobs": self._scored(choice.scores),
            "finish_reason": choice.reason,
        }

    def _chunk(
        self,
        number: int,
        delta: dict[str, Any],
        *,
        scores: Iterable[Score] = (),
        reason: str | None = None,
        **more: Any,
    ) -> StreamPart:
        logprobs = self._scored(scores) if "content" in delta else None
        choice = {"index": number, "delta": delta, "logprobs": logprobs, "finish_reason": reason}
        chunk = {**self._head, "object": "chat.completion.chunk", "choices": [choice], **more}
        return StreamPart({**chunk, "usage": None} if self._include_usage else chunk)

    def _scored(self, scores: Iterable[Score]) -> dict[str, Any] | None:
        if not self._logprobs:
            return None
        return {"content": [logprob_of(score) for score in scores], "refusal": None}

    def _annotation(self, mark: Mark) -> dict[str, Any]:
        return {
            "type": "url_citation",
            "url_citation": {
                "start_index": mark.start,
                "end_index": mark.end,
                "title": mark.title,
                "url": source_url(self._base, mark),
            },
        }
