"""An agent of smolagents with a tool: its loop, its prompts, its parsing, against our server and a Llama that
was taught what to say in this one conversation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from openai.types.chat import ChatCompletion
from smolagents import OpenAIModel, ToolCallingAgent, tool

from api.app import create_app
from api.loaders import Loaders
from api.v1.dialogue import engine_messages
from api.v1.schemas.chat import ChatRequest
from api.wiring import Service
from model import Engine
from rag.settings import Settings
from tests.api.conftest import listening
from tests.api.teaching import Lesson, teach

TASK = "What is 6 times 7?"
CALLS = [("multiply", {"a": 6, "b": 7}), ("final_answer", {"answer": "It is 42."})]
WRITTEN = [
    '{"name": "multiply", "parameters": {"a": 6, "b": 7}}',
    '{"name": "final_answer", "parameters": {"answer": "It is 42."}}',
]
ID = "call_1"


@tool
def multiply(a: int, b: int) -> int:
    """The product of two integers.

    Args:
        a: One of them.
        b: The other.
    """
    done.append((a, b))
    return a * b


done: list[tuple[int, int]] = []


def _agent(base_url: str, **client: Any) -> ToolCallingAgent:
    model = OpenAIModel("longleaf/raw", api_base=base_url, api_key="none", client_kwargs=client)
    return ToolCallingAgent([multiply], model, max_steps=3, verbosity_level=0)


def _asked() -> list[dict[str, Any]]:
    """The bodies that the agent sends when it is answered as the model is to answer."""
    bodies: list[dict[str, Any]] = []

    def answer(request: httpx.Request) -> httpx.Response:
        name, arguments = CALLS[len(bodies)]
        bodies.append(json.loads(request.content))
        call = {"id": ID, "type": "function", "function": {"name": name, "arguments": json.dumps(arguments)}}
        message = {"role": "assistant", "content": None, "tool_calls": [call]}
        completion = ChatCompletion.model_validate(
            {
                "id": "1", "object": "chat.completion", "created": 0, "model": "longleaf/raw",
                "choices": [{"index": 0, "finish_reason": "tool_calls", "message": message}],
                "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
            }
        )  # fmt: skip
        return httpx.Response(200, json=completion.model_dump())

    _agent("http://nowhere/v1", http_client=httpx.Client(transport=httpx.MockTransport(answer))).run(TASK)
    return bodies


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    """Knows what to say to the two prompts of the agent."""
    lessons = []
    for body, written in zip(_asked(), WRITTEN, strict=True):
        request = ChatRequest.model_validate(body)
        offered = [each.model_dump(exclude_none=True) for each in request.tools or ()]
        lessons.append(Lesson(engine_messages(request.messages), written, offered))
    return Engine.load(teach(tmp_path_factory.mktemp("agent") / "model", lessons), "cpu", "float32")


def test_an_agent_calls_its_tool_and_answers(
    tmp_path: Path, loaders: Loaders, taught: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    # the agent writes the id of each call into its next prompt, which has to be the one that was taught
    monkeypatch.setattr("api.v1.generating.secrets.token_hex", lambda _: ID.removeprefix("call_"))
    settings = Settings(_env_file=None, data_dir=tmp_path, ingest_workers=0)
    service = Service(settings, Loaders(loaders.embedder, lambda _settings: taught))
    done.clear()
    with listening(create_app(settings, service)) as port:
        assert _agent(f"http://127.0.0.1:{port}/v1").run(TASK) == "It is 42."
    assert done == [(6, 7)]
