"""docs/clients.md against the client's own types: every parameter that it can send, and how it is treated."""

from __future__ import annotations

import re
import typing
from typing import Any

import pytest
from openai.types import completion_create_params, embedding_create_params
from openai.types.chat import completion_create_params as chat_create_params
from openai.types.responses import response_create_params
from pydantic import BaseModel, ValidationError
from reading import code, read, table

from api.v1.schemas.base import use_of
from api.v1.schemas.chat import ChatRequest
from api.v1.schemas.completions import CompletionRequest, EmbeddingRequest
from api.v1.schemas.responses import ResponseRequest

OWN = {"longleaf", "input_type"}
"""Parameters of ours."""
KINDS: list[tuple[str, type[BaseModel], list[Any]]] = [
    (
        "chat",
        ChatRequest,
        [
            chat_create_params.CompletionCreateParamsNonStreaming,
            chat_create_params.CompletionCreateParamsStreaming,
        ],
    ),
    (
        "completion",
        CompletionRequest,
        [
            completion_create_params.CompletionCreateParamsNonStreaming,
            completion_create_params.CompletionCreateParamsStreaming,
        ],
    ),
    ("embedding", EmbeddingRequest, [embedding_create_params.EmbeddingCreateParams]),
    (
        "response",
        ResponseRequest,
        [
            response_create_params.ResponseCreateParamsNonStreaming,
            response_create_params.ResponseCreateParamsStreaming,
        ],
    ),
]
LEAST: dict[str, dict[str, Any]] = {
    "chat": {"model": "a", "messages": [{"role": "user", "content": "b"}]},
    "completion": {"model": "a", "prompt": "b"},
    "embedding": {"model": "a", "input": "b"},
    "response": {"model": "a", "input": "b"},
}


def parameters(types: list[Any]) -> set[str]:
    return {name for each in types for name in typing.get_type_hints(each)}


@pytest.mark.parametrize(("kind", "model", "types"), KINDS, ids=[kind for kind, _, _ in KINDS])
def test_every_parameter_of_the_client_has_its_line(
    kind: str, model: type[BaseModel], types: list[Any]
) -> None:
    page = read("docs/clients.md")
    written = {code(row[0]): row[1] for row in table(page, kind)}
    assert set(written) == parameters(types)
    assert written == {name: use_of(model, name) for name in written}
    assert set(model.model_fields) - OWN == set(written)
    used = sum(use == "used" for use in written.values())
    section = page.split(f"| {kind} |")[1]
    assert re.search(r"(\d+) of (\d+) are used", section).groups() == (str(used), str(len(written)))  # type: ignore[union-attr]


@pytest.mark.parametrize(("kind", "model", "types"), KINDS, ids=[kind for kind, _, _ in KINDS])
def test_parameters_are_treated_as_their_lines_say(
    kind: str, model: type[BaseModel], types: list[Any]
) -> None:
    for name in parameters(types):
        given = {**LEAST[kind], name: {"any": ["thing"]}}
        if use_of(model, name) == "not used":
            model.model_validate(given)
            continue
        with pytest.raises(ValidationError) as caught:
            model.model_validate(given)
        kinds = {entry["type"] for entry in caught.value.errors()}
        assert (kinds == {"unsupported_parameter"}) == (use_of(model, name) == "refused"), name


def test_own_parameters_are_documented() -> None:
    for name in OWN:
        assert f"`{name}`" in read("docs/clients.md")
