"""Tools through OpenAI's own client, with a Llama 3 that was taught one conversation: the model writes the
call, the client runs it, and what it gave back is read in the turn of the role `ipython`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from openai import OpenAI

from api.app import create_app
from api.loaders import Loaders
from api.wiring import Service
from model import Engine
from rag.settings import Settings
from tests.api.conftest import listening
from tests.api.teaching import Lesson, teach

RAW = "longleaf/raw"
MULTIPLY = {
    "type": "function",
    "function": {
        "name": "multiply",
        "description": "The product of two integers.",
        "parameters": {
            "type": "object",
            "properties": {"a": {"$ref": "#/$defs/digit"}, "b": {"$ref": "#/$defs/digit"}},
            "required": ["a", "b"],
            "$defs": {"digit": {"type": "integer", "minimum": 0, "maximum": 99}},
        },
    },
}
CLOCK = {"type": "function", "function": {"name": "clock", "description": "The time.", "parameters": None}}
TOOLS: list[Any] = [MULTIPLY, CLOCK]
ASKED: list[Any] = [{"role": "user", "content": "What is 6 times 7?"}]
BOTH: list[Any] = [{"role": "user", "content": "6 times 7, and the time?"}]
CALL = '{"name": "multiply", "parameters": {"a": 6, "b": 7}}'
SECOND = '{"name": "clock", "parameters": {}}'
RESULT = "It is 42."


def _offered(tool: dict[str, Any]) -> dict[str, Any]:
    function = tool["function"]
    empty = {"type": "object", "properties": {}}
    return {"type": "function", "function": {**function, "parameters": function["parameters"] or empty}}


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    """Knows the two questions, and what to say to the first one's result."""
    offered = [_offered(tool) for tool in TOOLS]
    call = {"name": "multiply", "arguments": {"a": 6, "b": 7}}
    told = [*ASKED, {"role": "assistant", "tool_calls": [call]}, {"role": "ipython", "content": "42"}]
    lessons = [
        Lesson(ASKED, CALL, offered),
        Lesson(told, RESULT, offered),
        Lesson(BOTH, f"{CALL}; {SECOND}", offered),
    ]
    folder = teach(tmp_path_factory.mktemp("taught") / "model", lessons)
    return Engine.load(folder, "cpu", "float32")


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory, loaders: Loaders, taught: Engine) -> Iterator[OpenAI]:
    settings = Settings(_env_file=None, data_dir=tmp_path_factory.mktemp("tools"), ingest_workers=0)
    service = Service(settings, Loaders(loaders.embedder, lambda _settings: taught))
    with (
        listening(create_app(settings, service)) as port,
        OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="none", max_retries=0) as client,
    ):
        yield client


def ask(client: OpenAI, messages: list[Any], **more: Any) -> Any:
    given = {"model": RAW, "messages": messages, "tools": TOOLS, "temperature": 0, "max_tokens": 200}
    return client.chat.completions.create(**given | more)


def test_a_call_goes_to_the_client_and_its_result_back(client: OpenAI) -> None:
    first = ask(client, ASKED).choices[0]
    assert first.finish_reason == "tool_calls"
    assert first.message.content is None
    [call] = first.message.tool_calls
    assert call.function.name == "multiply"
    given = json.loads(call.function.arguments)
    result = {"role": "tool", "tool_call_id": call.id, "content": str(given["a"] * given["b"])}
    last = ask(client, [*ASKED, first.message, result]).choices[0]
    assert last.message.content == RESULT
    assert last.finish_reason == "stop"
    assert not last.message.tool_calls


def test_results_are_read_as_ipython(client: OpenAI, taught: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    prompts: list[list[int]] = []
    generate = Engine.generate

    def noted(self: Engine, ids: list[int], *given: Any, **named: Any) -> Any:
        prompts.append(list(ids))
        return generate(self, ids, *given, **named)

    monkeypatch.setattr(Engine, "generate", noted)
    call = {
        "id": "call_a",
        "type": "function",
        "function": {"name": "multiply", "arguments": '{"a": 6, "b": 7}'},
    }
    told = {"role": "assistant", "content": None, "tool_calls": [call]}
    ask(client, [*ASKED, told, {"role": "tool", "tool_call_id": "call_a", "content": "42<|eot_id|>"}])
    text = taught.tokenizer.decode(prompts[0], control=True)
    head = "<|start_header_id|>ipython<|end_header_id|>\n\n"
    assert f"{CALL}<|eot_id|>{head}42<|eot_id|><|eot_id|>" in text
    assert prompts[0].count(taught.tokenizer.control["<|eot_id|>"]) == 4  # the result's own is only text


@pytest.mark.parametrize("parallel", [True, False])
@pytest.mark.parametrize("stream", [True, False])
def test_several_calls_unless_they_are_not_wanted(client: OpenAI, parallel: bool, stream: bool) -> None:
    found = ask(client, BOTH, parallel_tool_calls=parallel, stream=stream)
    if stream:
        chunks = [chunk.choices[0] for chunk in found]
        calls = [call for chunk in chunks for call in chunk.delta.tool_calls or ()]
        assert [call.index for call in calls] == list(range(len(calls)))
        assert chunks[-1].finish_reason == "tool_calls"
        assert "".join(chunk.delta.content or "" for chunk in chunks) == ""
    else:
        calls = found.choices[0].message.tool_calls
    assert [call.function.name for call in calls] == (["multiply", "clock"] if parallel else ["multiply"])
    assert len({call.id for call in calls}) == len(calls)


def test_a_choice_of_tools_is_held_to(client: OpenAI) -> None:
    named = {"type": "function", "function": {"name": "clock"}}
    [call] = ask(client, ASKED, tool_choice=named).choices[0].message.tool_calls
    assert (call.function.name, json.loads(call.function.arguments)) == ("clock", {})
    allowed = {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [named]}}
    [call] = ask(client, ASKED, tool_choice=allowed).choices[0].message.tool_calls
    assert call.function.name == "clock"
    none = ask(client, ASKED, tool_choice="none").choices[0]
    assert not none.message.tool_calls
    strange = [{"role": "user", "content": "Hello there, how are you?"}]
    [call] = (
        ask(client, strange, tool_choice="required", temperature=1.5, seed=3).choices[0].message.tool_calls
    )
    if call.function.name == "multiply":
        assert all(0 <= value <= 99 for value in json.loads(call.function.arguments).values())


def test_a_call_or_an_answer_by_a_schema(client: OpenAI) -> None:
    schema = {"type": "object", "properties": {"sum": {"enum": [1, 2]}}, "required": ["sum"]}
    shape = {
        "type": "json_schema",
        "json_schema": {"name": "sum", "schema": schema | {"additionalProperties": False}},
    }
    for seed in range(4):
        found = ask(
            client, ASKED, response_format=shape, temperature=2, seed=seed, parallel_tool_calls=True
        ).choices[0]
        if found.finish_reason == "tool_calls":
            assert found.message.tool_calls[0].function.name in {"multiply", "clock"}
        elif found.finish_reason == "stop":
            assert json.loads(found.message.content)["sum"] in {1, 2}
    assert ask(client, ASKED, response_format=shape).choices[0].finish_reason == "tool_calls"
