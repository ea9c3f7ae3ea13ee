"""Responses: the newer form of a chat. A request becomes one for a chat; steps are shown otherwise."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from typing import Any

from api.v1 import chat
from api.v1.dialogue import text_of
from api.v1.events import Answered, Called, Ended, Mark, Piece, Score, Started, Step, Usage
from api.v1.failures import in_form
from api.v1.schemas.chat import ChatRequest
from api.v1.schemas.responses import (
    LOGPROBS,
    AllowedFunctions,
    InputCall,
    InputMessage,
    InputResult,
    NamedFunction,
    ResponseRequest,
    SchemaText,
)
from api.v1.shape import StreamPart, logprob_of, new_id, now
from api.wiring import Service
from rag.errors import InvalidRequest

_NAMES = {"messages": "input", "response_format": "text", "max_completion_tokens": "max_output_tokens"}
"""Parameters of a chat by their names here."""


def steps(service: Service, body: ResponseRequest, cancel: threading.Event) -> Iterator[Step]:
    """Steps of a response. Raises as `api.v1.chat.steps`."""
    try:
        yield from chat.steps(service, _as_chat(body), cancel)
    except InvalidRequest as error:
        named = str(error.extra.get("param", ""))
        if named.partition(".")[0] in _NAMES:
            error.extra["param"] = _NAMES[named.partition(".")[0]]
        raise


def _as_chat(body: ResponseRequest) -> ChatRequest:
    given: dict[str, Any] = {
        "model": body.model,
        "messages": _messages(body),
        "max_completion_tokens": body.max_output_tokens,
        "temperature": body.temperature,
        "top_p": body.top_p,
        "logprobs": _wants_logprobs(body) or None,
        "top_logprobs": body.top_logprobs,
        "parallel_tool_calls": body.parallel_tool_calls,
        "tool_choice": _choice(body),
        "response_format": _format(body),
        "longleaf": body.longleaf.given() if body.longleaf else None,
    }
    if body.tools:
        tools = [tool.model_dump(exclude={"type"}, exclude_none=True) for tool in body.tools]
        given["tools"] = [{"type": "function", "function": tool} for tool in tools]
    return in_form(ChatRequest, given, _NAMES)


def _messages(body: ResponseRequest) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    if body.instructions:
        found.append({"role": "system", "content": body.instructions})
    if isinstance(body.input, str):
        return [*found, {"role": "user", "content": body.input}]
    for item in body.input:
        match item:
            case InputMessage():
                found.append({"role": item.role, "content": text_of(item.content)})
            case InputCall():
                function = {"name": item.name, "arguments": item.arguments}
                if not found or found[-1]["role"] != "assistant":
                    found.append({"role": "assistant", "content": None})
                calls = found[-1].setdefault("tool_calls", [])
                calls.append({"id": item.call_id, "type": "function", "function": function})
            case InputResult():
                found.append({"role": "tool", "tool_call_id": item.call_id, "content": text_of(item.output)})
            case _:
                pass
    return found


def _choice(body: ResponseRequest) -> Any:
    choice = body.tool_choice
    if isinstance(choice, NamedFunction):
        return {"type": "function", "function": {"name": choice.name}}
    if isinstance(choice, AllowedFunctions):
        tools = [{"type": "function", "function": {"name": tool.name}} for tool in choice.tools]
        return {"type": "allowed_tools", "allowed_tools": {"mode": choice.mode, "tools": tools}}
    # Clients send "auto" and "none" without tools too.
    return choice if body.tools or choice == "required" else None


def _format(body: ResponseRequest) -> Any:
    form = body.text.format if body.text else None
    if isinstance(form, SchemaText):
        return {"type": form.type, "json_schema": {"name": form.name, "schema": form.schema_}}
    return None if form is None else {"type": form.type}


def _wants_logprobs(body: ResponseRequest) -> bool:
    return bool(body.top_logprobs) or LOGPROBS in (body.include or ())


class ResponsePresenter:
    """Shows steps as one `response`, or as its typed events."""

    def __init__(self, body: ResponseRequest) -> None:
        self._response = _response(body)
        self._logprobs = _wants_logprobs(body)
        self._sequence = 0
        self._output: list[dict[str, Any]] = self._response["output"]
        self._open = False  # whether the last item of the output is a message that goes on
        self._scores: list[Score] = []

    def take(self, step: Step) -> Iterable[StreamPart]:
        """See `Presenter.take`."""
        match step:
            case Started():
                yield self._event("response.created", response=self._now())
                yield self._event("response.in_progress", response=self._now())
            case Piece():
                yield from self._message()
                self._part["text"] += step.text
                self._scores += step.scores
                scored = [logprob_of(score) for score in step.scores] if self._logprobs else []
                yield self._placed("response.output_text.delta", delta=step.text, logprobs=scored)
            case Called():
                yield from self._end_message()
                yield from self._call(step)
            case Answered(marks=marks):
                yield from self._message()
                self._response["longleaf"] = step.body
                for index, mark in enumerate(marks):
                    annotation = _annotation(mark)
                    self._part["annotations"].append(annotation)
                    yield self._placed(
                        "response.output_text.annotation.added",
                        annotation_index=index,
                        annotation=annotation,
                    )
            case Ended():
                yield from self._ended(step)

    def close(self) -> Iterable[StreamPart]:
        """See `Presenter.close`."""
        yield self._event(f"response.{self._response['status']}", response=self._response)

    def body(self) -> dict[str, Any]:
        """See `Presenter.body`."""
        return self._response

    def failed(self, error: dict[str, Any]) -> StreamPart:
        """The last event of a stream that breaks off; `error` has OpenAI's members."""
        known = {name: error.get(name) for name in ("code", "message", "param")}
        return self._event("error", **known)

    @property
    def _item(self) -> dict[str, Any]:
        return self._output[-1]

    @property
    def _part(self) -> dict[str, Any]:
        part: dict[str, Any] = self._item["content"][0]
        return part

    def _message(self) -> Iterable[StreamPart]:
        """Open a message where none is open."""
        if self._open:
            return
        self._open = True
        item: dict[str, Any] = {
            "id": new_id("msg_"),
            "type": "message",
            "role": "assistant",
            "status": "in_progress",
            "content": [],
        }
        self._output.append(item)
        yield self._event(
            "response.output_item.added",
            output_index=len(self._output) - 1,
            item={**item, "content": []},
        )
        part: dict[str, Any] = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
        item["content"].append(part)
        yield self._placed("response.content_part.added", part={**part, "annotations": [], "logprobs": []})

    def _end_message(self) -> Iterable[StreamPart]:
        if not self._open:
            return
        self._open = False
        if self._logprobs:
            self._part["logprobs"] = [logprob_of(score) for score in self._scores]
        self._scores = []
        self._item["status"] = "completed"
        part = self._part
        yield self._placed("response.output_text.done", text=part["text"], logprobs=part["logprobs"])
        yield self._placed("response.content_part.done", part=part)
        yield self._event("response.output_item.done", output_index=len(self._output) - 1, item=self._item)

    def _call(self, call: Called) -> Iterable[StreamPart]:
        item = {
            "id": new_id("fc_"),
            "type": "function_call",
            "call_id": call.id,
            "name": call.name,
            "arguments": "",
            "status": "in_progress",
        }
        self._output.append(item)
        at = {"output_index": len(self._output) - 1}
        yield self._event("response.output_item.added", **at, item=dict(item))
        item |= {"arguments": call.arguments, "status": "completed"}
        named = {**at, "item_id": item["id"]}
        yield self._event("response.function_call_arguments.delta", **named, delta=call.arguments)
        yield self._event(
            "response.function_call_arguments.done", **named, name=call.name, arguments=call.arguments
        )
        yield self._event("response.output_item.done", **at, item=dict(item))

    def _ended(self, step: Ended) -> Iterable[StreamPart]:
        if not self._output:
            yield from self._message()
        yield from self._end_message()
        cut = step.reason == "length"
        self._response |= {
            "status": "incomplete" if cut else "completed",
            "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
            "completed_at": None if cut else now(),
            "usage": _usage(step.usage),
        }

    def _placed(self, event: str, **data: Any) -> StreamPart:
        place = {"item_id": self._item["id"], "output_index": len(self._output) - 1, "content_index": 0}
        return self._event(event, **place, **data)

    def _event(self, event: str, **data: Any) -> StreamPart:
        part = StreamPart({"type": event, "sequence_number": self._sequence, **data}, event)
        self._sequence += 1
        return part

    def _now(self) -> dict[str, Any]:
        return {**self._response, "output": []}


def _response(body: ResponseRequest) -> dict[str, Any]:
    given = body.model_dump(mode="json", by_alias=True, include={"tools", "tool_choice", "text"})
    text = given.get("text") or {}
    return {
        "id": new_id("resp_"),
        "object": "response",
        "created_at": now(),
        "completed_at": None,
        "status": "in_progress",
        "background": False,
        "error": None,
        "incomplete_details": None,
        "instructions": body.instructions,
        "max_output_tokens": body.max_output_tokens,
        "metadata": body.metadata or {},
        "model": body.model,
        "output": [],
        "parallel_tool_calls": body.parallel_tool_calls is not False,
        "previous_response_id": None,
        "reasoning": {"effort": None, "summary": None},
        "store": False,
        "temperature": body.temperature,
        "text": {"format": text.get("format") or {"type": "text"}},
        "tool_choice": given.get("tool_choice") or "auto",
        "tools": given.get("tools") or [],
        "top_logprobs": body.top_logprobs or 0,
        "top_p": 1.0 if body.top_p is None else body.top_p,
        "truncation": "disabled",
        "usage": None,
    }


def _usage(usage: Usage) -> dict[str, Any]:
    return {
        "input_tokens": usage.prompt,
        "input_tokens_details": {"cached_tokens": usage.cached, "cache_write_tokens": 0},
        "output_tokens": usage.completion,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": usage.prompt + usage.completion,
    }


def _annotation(mark: Mark) -> dict[str, Any]:
    return {
        "type": "file_citation",
        "file_id": mark.document_id,
        "filename": mark.filename,
        "index": mark.start,
    }
