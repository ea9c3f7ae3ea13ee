"""Responses through OpenAI's own client: whole and as typed events, with functions, schemas and documents."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest
from openai import AsyncOpenAI, OpenAI
from openai.types.responses import (
    Response,
    ResponseFunctionToolCall,
    ResponseOutputMessage,
    ResponseOutputText,
)

from api.app import create_app
from api.loaders import Loaders
from api.wiring import Service
from model import Engine
from rag.embedders.base import Embedder
from rag.settings import Settings
from tests.api.conftest import listening, ready
from tests.api.teaching import Lesson, teach

RAW = "longleaf/raw"
ASKED = "What is 6 times 7?"
CALL = '{"name": "multiply", "parameters": {"a": 6, "b": 7}}'
RESULT = "It is 42."
PARAMETERS = {
    "type": "object",
    "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
    "required": ["a", "b"],
}
TOOL: dict[str, Any] = {
    "type": "function",
    "name": "multiply",
    "description": "The product of two integers.",
    "parameters": PARAMETERS,
    "strict": True,
}


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    """Knows one question, and what to say to its function's result."""
    offered = [{"type": "function", "function": {k: TOOL[k] for k in ("name", "description", "parameters")}}]
    asked: list[dict[str, Any]] = [
        {"role": "system", "content": "Multiply."},
        {"role": "user", "content": ASKED},
    ]
    call = {"name": "multiply", "arguments": {"a": 6, "b": 7}}
    told = [*asked, {"role": "assistant", "tool_calls": [call]}, {"role": "ipython", "content": "42"}]
    lessons = [Lesson(asked, CALL, offered), Lesson(told, RESULT, offered), Lesson(asked, "Forty-two.")]
    return Engine.load(teach(tmp_path_factory.mktemp("taught") / "model", lessons), "cpu", "float32")


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory, embedder: Embedder, engine: Engine) -> Iterator[str]:
    settings = Settings(_env_file=None, data_dir=tmp_path_factory.mktemp("responses"))
    loaders = Loaders(lambda _settings: embedder, lambda _settings: engine)
    with listening(create_app(settings, Service(settings, loaders))) as port:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            ready(client)
        yield f"http://127.0.0.1:{port}/v1"


@pytest.fixture
def client(url: str) -> Iterator[OpenAI]:
    with OpenAI(base_url=url, api_key="none", max_retries=0) as client:
        yield client


def ask(client: OpenAI, **more: Any) -> Any:
    given: dict[str, Any] = {"model": RAW, "input": ASKED, "instructions": "Multiply.", "temperature": 0}
    return client.responses.create(**given | more)


def test_a_text_is_answered(client: OpenAI) -> None:
    found: Response = ask(client, metadata={"for": "a test"})
    assert (found.status, found.output_text) == ("completed", "Forty-two.")
    assert found.metadata == {"for": "a test"}
    assert found.usage is not None
    assert found.usage.total_tokens == found.usage.input_tokens + found.usage.output_tokens
    parts = [{"role": "user", "content": [{"type": "input_text", "text": ASKED}]}]
    assert ask(client, input=parts).output_text == "Forty-two."
    cut: Response = ask(client, max_output_tokens=2)
    assert cut.status == "incomplete"
    assert cut.incomplete_details is not None
    assert cut.incomplete_details.reason == "max_output_tokens"


@pytest.mark.parametrize("stream", [False, True])
def test_a_call_goes_to_the_client_and_its_result_back(client: OpenAI, stream: bool) -> None:
    def whole(given: list[Any]) -> Response:
        found = ask(client, input=given, tools=[TOOL], stream=stream)
        return list(found)[-1].response if stream else found  # type: ignore[no-any-return]

    history: list[Any] = [{"role": "user", "content": ASKED}]
    first = whole(history)
    [call] = first.output
    assert isinstance(call, ResponseFunctionToolCall)
    given = json.loads(call.arguments)
    result = {"type": "function_call_output", "call_id": call.call_id, "output": str(given["a"] * given["b"])}
    last = whole([*history, call.model_dump(exclude_none=True), result])
    assert last.output_text == RESULT


def test_events_come_in_their_order_and_make_the_whole(client: OpenAI) -> None:
    events = list(ask(client, stream=True))
    assert [event.sequence_number for event in events] == list(range(len(events)))
    kinds = [event.type for event in events]
    assert kinds[:4] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
    ]
    assert kinds[-4:] == [
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    deltas = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert deltas == events[-1].response.output_text == "Forty-two."
    calls = [event.type for event in ask(client, stream=True, tools=[TOOL])]
    assert calls[2:] == [
        "response.output_item.added",
        "response.function_call_arguments.delta",
        "response.function_call_arguments.done",
        "response.output_item.done",
        "response.completed",
    ]


def test_the_async_clients_stream_helper(url: str) -> None:
    async def run() -> str:
        async with AsyncOpenAI(base_url=url, api_key="none", max_retries=0) as client:
            asked: dict[str, Any] = {"model": RAW, "input": ASKED, "instructions": "Multiply."}
            async with client.responses.stream(**asked, temperature=0) as stream:
                async for _ in stream:
                    pass
                return (await stream.get_final_response()).output_text

    assert asyncio.run(run()) == "Forty-two."


def test_a_schema_and_logprobs(client: OpenAI) -> None:
    schema = {"type": "object", "properties": {"n": {"enum": [1, 2]}}, "required": ["n"]}
    schema["additionalProperties"] = False
    form = {"format": {"type": "json_schema", "name": "n", "schema": schema}}
    assert json.loads(ask(client, text=form).output_text)["n"] in {1, 2}
    found: Response = ask(client, top_logprobs=2, include=["message.output_text.logprobs"])
    assert isinstance(found.output[0], ResponseOutputMessage)
    part = found.output[0].content[0]
    assert isinstance(part, ResponseOutputText)
    assert part.logprobs is not None
    assert "".join(entry.token for entry in part.logprobs) == "Forty-two."
    assert all(len(entry.top_logprobs) == 2 for entry in part.logprobs)


@pytest.mark.parametrize("stream", [False, True])
def test_documents_answer_with_files_cited(client: OpenAI, stream: bool) -> None:
    asked = {"model": "longleaf/default", "input": "How long is the notice period?", "instructions": None}
    found = ask(client, **asked, stream=stream)
    if stream:
        events = list(found)
        added = [event for event in events if event.type == "response.output_text.annotation.added"]
        found = events[-1].response
        assert added
    assert "fourteen months" in found.output_text
    [part] = found.output[0].content
    for annotation in part.annotations:
        assert annotation.type == "file_citation"
        assert annotation.filename == "lease.md"
        assert found.output_text[annotation.index] == "["
    assert found.longleaf["answer_status"] == "answered"


ORPHAN = {"type": "function_call_output", "call_id": "a", "output": "b"}
THOUGHT = {"type": "reasoning", "id": "rs_1", "summary": []}


@pytest.mark.parametrize(
    ("change", "code", "param"),
    [
        ({"previous_response_id": "resp_1"}, "unsupported_parameter", "previous_response_id"),
        ({"store": True}, "unsupported_parameter", "store"),
        ({"background": True}, "unsupported_parameter", "background"),
        ({"truncation": "auto"}, "invalid_value", "truncation"),
        ({"tools": [{"type": "web_search"}]}, "invalid_value", "tools[0].type"),
        ({"input": [ORPHAN]}, "invalid_messages", "input"),
        ({"input": [THOUGHT], "instructions": None}, "invalid_value", "input"),
    ],
)
def test_what_is_not_possible_is_refused(
    client: OpenAI, change: dict[str, Any], code: str, param: str
) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        ask(client, **change)
    assert (caught.value.code, caught.value.param) == (code, param)
