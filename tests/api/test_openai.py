"""OpenAI's own client against a real server: its typed surface, sync and async, whole and streamed."""

from __future__ import annotations

import asyncio
import base64
import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import openai
import pytest
import torch
import transformers
from openai import AsyncOpenAI, OpenAI
from openai.types.chat import ChatCompletion

from api.app import create_app
from api.loaders import Loaders
from api.middleware import MAX_PROMPT_BYTES
from api.wiring import Service
from model import Engine, SamplingParams, TokenEvent
from rag.embedders.base import Embedder
from rag.settings import Settings
from tests.api.conftest import LEASE, listening, ready
from tests.model.checkpoints import tiny_model, write_folder

RAW = "longleaf/raw"
STOPS = ["a", "e", "i", "o"]
QUESTION = "How long is the notice period?"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Llama 3.1 of two layers, which writes what no one would mistake for an answer."""
    return write_folder(tmp_path_factory.mktemp("random"), tiny_model())


@pytest.fixture(scope="module")
def engine(folder: Path) -> Engine:
    return Engine.load(folder, "cpu", "float32")


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory, embedder: Embedder, engine: Engine) -> Iterator[str]:
    """A running server that holds one document, in `default` and in another collection."""
    settings = Settings(_env_file=None, data_dir=tmp_path_factory.mktemp("openai"))
    loaders = Loaders(lambda _settings: embedder, lambda _settings: engine)
    with listening(create_app(settings, Service(settings, loaders))) as port:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            ready(client)
            ready(client, collection="deeds of 2021")
        yield f"http://127.0.0.1:{port}"


@pytest.fixture
def client(url: str) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
        yield client


def begun(engine: Engine, text: str) -> list[int]:
    """Ids of a text with the begin token before them."""
    begin = engine.tokenizer.bos_id
    assert begin is not None
    return [begin, *engine.tokenizer.encode(text)]


def said(text: str, role: str = "user") -> Any:
    return {"role": role, "content": text}


def test_models_are_listed_and_shown(client: OpenAI, engine: Engine, embedder: Embedder) -> None:
    names = [model.id for model in client.models.list()]
    assert {RAW, engine.name, "longleaf/embedder", embedder.name} < set(names)
    assert {"longleaf/default", "longleaf/deeds of 2021"} < set(names)
    assert client.models.retrieve("longleaf/deeds of 2021").created > 1_700_000_000
    with pytest.raises(openai.NotFoundError) as caught:
        client.models.retrieve("gpt-4o")
    assert (caught.value.code, caught.value.param) == ("model_not_found", "model")


def test_a_chat_is_what_the_engine_says(client: OpenAI, engine: Engine) -> None:
    messages = [said("Answer in one word.", "developer"), said("The capital of France?")]
    found = client.chat.completions.create(
        model=RAW, messages=messages, temperature=0, max_completion_tokens=12
    )
    told = [said("Answer in one word.", "system"), messages[1]]
    *_, end = engine.chat(told, SamplingParams(max_tokens=12))
    assert isinstance(found, ChatCompletion)
    choice = found.choices[0]
    assert choice.message.content == end.text  # type: ignore[union-attr]
    assert choice.finish_reason in {"stop", "length"}
    assert found.usage is not None
    assert found.usage.completion_tokens == end.completion_tokens  # type: ignore[union-attr]
    assert found.usage.prompt_tokens == end.prompt_tokens  # type: ignore[union-attr]
    assert found.id.startswith("chatcmpl-")


def test_a_stream_says_the_same(client: OpenAI, engine: Engine) -> None:
    asked: dict[str, Any] = {
        "model": engine.name,
        "messages": [said("Count to five.")],
        "temperature": 0,
        "max_tokens": 20,
    }
    whole = client.chat.completions.create(**asked)
    chunks = list(
        client.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True})
    )
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == whole.choices[0].message.content
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == whole.choices[0].finish_reason
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert whole.usage is not None
    assert chunks[-1].usage.total_tokens == whole.usage.total_tokens
    assert all(chunk.usage is None for chunk in chunks[:-1])
    assert len({chunk.id for chunk in chunks}) == 1


def test_the_clients_own_stream_helper_and_the_async_client(url: str) -> None:
    async def run() -> tuple[str, str]:
        async with AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
            ask: dict[str, Any] = {
                "model": RAW,
                "messages": [said("Say hello.")],
                "temperature": 0,
                "stop": ["!", ".", "?"],
            }
            async with client.chat.completions.stream(**ask, max_tokens=300) as stream:
                async for _ in stream:
                    pass
                streamed = await stream.get_final_completion()
            whole = await client.chat.completions.create(**ask, max_tokens=300)
            return str(streamed.choices[0].message.content), str(whole.choices[0].message.content)

    streamed, whole = asyncio.run(run())
    assert streamed == whole


def test_stop_seed_and_choices(client: OpenAI) -> None:
    asked: dict[str, Any] = {"model": RAW, "messages": [said("Tell me a story.")], "max_tokens": 16}
    first = client.chat.completions.create(**asked, n=3, seed=7, temperature=1.5)
    again = client.chat.completions.create(**asked, n=3, seed=7, temperature=1.5)
    texts = [choice.message.content for choice in first.choices]
    assert [choice.index for choice in first.choices] == [0, 1, 2]
    assert texts == [choice.message.content for choice in again.choices]
    assert len(set(texts)) == 3
    assert first.usage is not None
    greedy = client.chat.completions.create(**asked, temperature=0).choices[0].message.content
    assert greedy is not None
    word = greedy[5:7]
    cut = client.chat.completions.create(**asked, temperature=0, stop=[word])
    assert cut.choices[0].message.content == greedy[: greedy.index(word)]
    assert cut.choices[0].finish_reason == "stop"


def test_logprobs_are_the_models_own(client: OpenAI, engine: Engine) -> None:
    asked = [said("The capital of France?")]
    found = client.chat.completions.create(
        model=RAW, messages=asked, temperature=0, max_tokens=6, logprobs=True, top_logprobs=3
    )
    logprobs = found.choices[0].logprobs
    assert logprobs is not None
    assert logprobs.content is not None
    text = b"".join(bytes(entry.bytes or ()) for entry in logprobs.content)
    assert text.decode("utf-8", "replace") == found.choices[0].message.content
    assert engine.chat_format is not None
    prompt = engine.chat_format.render(asked)
    events = engine.generate(prompt, SamplingParams(max_tokens=6))
    written = [event.token_id for event in events if isinstance(event, TokenEvent)]
    rows = engine.logits([*prompt, *written])[len(prompt) - 1 : -1, : engine.tokenizer.vocab_size]
    scores = rows.log_softmax(-1)[range(len(written)), written].tolist()
    np.testing.assert_allclose([entry.logprob for entry in logprobs.content], scores, atol=2e-3)
    for entry in logprobs.content:
        assert len(entry.top_logprobs) == 3
        assert entry.logprob == max(each.logprob for each in entry.top_logprobs)
    biased = client.chat.completions.create(
        model=RAW,
        messages=asked,
        temperature=0,
        max_tokens=1,
        logprobs=True,
        logit_bias={str(written[0]): -100},
    )
    assert biased.choices[0].logprobs is not None
    assert biased.choices[0].logprobs.content is not None
    assert biased.choices[0].logprobs.content[0].bytes != logprobs.content[0].bytes


@pytest.mark.parametrize("stream", [False, True])
def test_json_by_a_schema(client: OpenAI, stream: bool) -> None:
    schema = {
        "type": "object",
        "properties": {"city": {"enum": ["Paris", "Rome"]}, "people": {"type": "integer", "maximum": 9}},
        "required": ["city", "people"],
        "additionalProperties": False,
    }
    asked: dict[str, Any] = {
        "model": RAW,
        "messages": [said("Which city?")],
        "temperature": 0,
        "response_format": {"type": "json_schema", "json_schema": {"name": "city", "schema": schema}},
    }
    if stream:
        chunks = client.chat.completions.create(**asked, stream=True)
        text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    else:
        text = client.chat.completions.create(**asked).choices[0].message.content or ""
    found = json.loads(text)
    assert found["city"] in {"Paris", "Rome"}
    assert found["people"] <= 9


def test_any_json_object(client: OpenAI) -> None:
    found = client.chat.completions.create(
        model=RAW,
        messages=[said("A person as JSON.")],
        temperature=0,
        max_tokens=400,
        response_format={"type": "json_object"},
    )
    text = found.choices[0].message.content or ""
    assert text.startswith("{")
    if found.choices[0].finish_reason == "stop":
        assert isinstance(json.loads(text), dict)


def test_documents_answer_with_citations_as_annotations(client: OpenAI, url: str) -> None:
    found = client.chat.completions.create(
        model="longleaf/default", messages=[said("You are kind.", "system"), said(QUESTION)]
    )
    message = found.choices[0].message
    assert message.content is not None
    assert "fourteen months" in message.content
    assert message.annotations
    for annotation in message.annotations:
        citation = annotation.url_citation
        assert message.content[citation.start_index : citation.end_index].startswith("[")
        assert citation.title
        cited = httpx.get(citation.url)
        assert cited.status_code == 200
        assert cited.text in LEASE
    body: dict[str, Any] = found.model_extra["longleaf"]  # type: ignore[index]
    assert body["answer"] == message.content
    assert body["answer_status"] == "answered"
    assert httpx.get(f"{url}/answers/{body['answer_id']}").json()["question"] == QUESTION


def test_documents_answer_as_a_stream(client: OpenAI) -> None:
    asked: dict[str, Any] = {"model": "longleaf/deeds of 2021", "messages": [said(QUESTION)]}
    chunks = list(client.chat.completions.create(**asked, stream=True))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    [told] = [chunk for chunk in chunks if chunk.model_extra and "longleaf" in chunk.model_extra]
    body: dict[str, Any] = told.model_extra["longleaf"]  # type: ignore[index]
    assert text == body["answer"]
    assert told.choices[0].delta.annotations  # type: ignore[attr-defined]
    assert chunks[-1].choices[0].finish_reason == "stop"


def test_documents_answer_a_follow_up_within_limits(client: OpenAI) -> None:
    history = [said(QUESTION), said("Fourteen months.", "assistant"), said("And who may fish there?")]
    found = client.chat.completions.create(
        model="longleaf/default", messages=history, extra_body={"longleaf": {"mode": "quotes", "steps": 1}}
    )
    body: dict[str, Any] = found.model_extra["longleaf"]  # type: ignore[index]
    assert body["answer_kind"] in {"quotes", "none"}
    assert len(body["searches"]) == 1


def test_documents_that_say_nothing_of_it(client: OpenAI) -> None:
    found = client.chat.completions.create(
        model="longleaf/default", messages=[said("Which protein folds in the mitochondria of yeast?")]
    )
    body: dict[str, Any] = found.model_extra["longleaf"]  # type: ignore[index]
    assert body["answer_status"] == "insufficient_evidence"
    assert found.choices[0].message.content == body["answer"]


TEXT = "The longleaf pine is native to the Southeastern United States."


def test_completions_continue_texts_and_ids(client: OpenAI, engine: Engine) -> None:
    ids = begun(engine, "The capital of France is")
    *_, end = engine.generate(ids, SamplingParams(max_tokens=5))
    asked: dict[str, Any] = {"model": RAW, "max_tokens": 5, "temperature": 0}
    for prompt in ("The capital of France is", ids):
        assert client.completions.create(**asked, prompt=prompt).choices[0].text == end.text  # type: ignore[union-attr]
    both = client.completions.create(**asked, prompt=["The capital of France is", TEXT], n=2)
    assert [choice.index for choice in both.choices] == [0, 1, 2, 3]
    assert both.choices[0].text == both.choices[1].text == end.text  # type: ignore[union-attr]
    parts = list(client.completions.create(**asked, prompt=[ids, ids], stream=True))
    for number in (0, 1):
        mine = [part.choices[0] for part in parts if part.choices[0].index == number]
        assert "".join(part.text for part in mine) == end.text  # type: ignore[union-attr]
        assert mine[-1].finish_reason == "length"


@pytest.mark.parametrize("most", [0, 1])
def test_log_probabilities_of_a_given_continuation(client: OpenAI, engine: Engine, most: int) -> None:
    """What lm-evaluation-harness asks for."""
    ids = begun(engine, TEXT)
    found = client.completions.create(
        model=RAW, prompt=[ids], echo=True, logprobs=2, max_tokens=most, temperature=0
    )
    choice, logprobs = found.choices[0], found.choices[0].logprobs
    assert logprobs is not None
    assert choice.text.startswith(TEXT)
    assert logprobs.token_logprobs is not None
    assert len(logprobs.token_logprobs) == len(ids) + most
    assert logprobs.token_logprobs[0] is None
    np.testing.assert_allclose(
        logprobs.token_logprobs[1 : len(ids)], engine.score(ids, 1).tolist(), atol=2e-3
    )
    assert logprobs.tokens is not None
    assert logprobs.text_offset is not None
    assert (logprobs.tokens[0], logprobs.text_offset[0]) == ("<|begin_of_text|>", 0)
    for token, offset in [*zip(logprobs.tokens, logprobs.text_offset, strict=True)][1:]:
        assert choice.text.startswith(token, offset)
    assert logprobs.top_logprobs is not None
    for top in logprobs.top_logprobs[1:]:
        assert len(top) == 2
    assert found.usage is not None
    assert found.usage.completion_tokens == most


def test_the_token_that_ends_a_text_has_its_score(client: OpenAI, folder: Path, engine: Engine) -> None:
    """lm-evaluation-harness takes the last score for that of the one token that it has to ask for."""
    ids, end = begun(engine, TEXT), min(engine.tokenizer.stop_ids)
    found = client.completions.create(
        model=RAW,
        prompt=[ids],
        echo=True,
        logprobs=1,
        max_tokens=1,
        temperature=0,
        logit_bias={str(end): 100},
    )
    choice, logprobs = found.choices[0], found.choices[0].logprobs
    assert logprobs is not None
    assert logprobs.tokens is not None
    assert logprobs.token_logprobs is not None
    assert (choice.text, choice.finish_reason) == (TEXT, "stop")
    assert len(logprobs.token_logprobs) == len(ids) + 1
    assert logprobs.tokens[-1] == engine.tokenizer.token_bytes(end).decode()
    with torch.no_grad():
        model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        rows = model(torch.tensor([ids])).logits[0, -1, : engine.tokenizer.vocab_size].log_softmax(-1)
    np.testing.assert_allclose(logprobs.token_logprobs[-1], float(rows[end]), atol=2e-3)


def test_log_probabilities_agree_with_transformers(client: OpenAI, folder: Path, engine: Engine) -> None:
    """With begin token, as transformers reads a text; an independent implementation of the same model."""
    found = client.completions.create(
        model=RAW, prompt=TEXT, echo=True, logprobs=1, max_tokens=1, temperature=0
    )
    logprobs = found.choices[0].logprobs
    assert logprobs is not None
    assert logprobs.token_logprobs is not None
    assert logprobs.top_logprobs is not None
    ids = begun(engine, TEXT)
    with torch.no_grad():
        model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        rows = model(torch.tensor([ids])).logits[0].log_softmax(-1)
    expected = [float(rows[at - 1, ids[at]]) for at in range(1, len(ids))]
    given = logprobs.token_logprobs[1:-1]
    np.testing.assert_allclose(given, expected, atol=2e-3)
    best = [max(top.values()) for top in logprobs.top_logprobs[1:-1]]
    greedy = [bool(rows[at - 1].argmax() == ids[at]) for at in range(1, len(ids))]
    assert [score == top for score, top in zip(given, best, strict=True)] == greedy


def test_embeddings(client: OpenAI, embedder: Embedder) -> None:
    texts = [QUESTION, TEXT]
    found = client.embeddings.create(model="longleaf/embedder", input=texts)
    assert found.model == embedder.name
    vectors = np.array([entry.embedding for entry in found.data], dtype=np.float32)
    np.testing.assert_allclose(vectors, embedder.embed_passages(texts), atol=1e-5)
    plain = client.embeddings.create(model=embedder.name, input=QUESTION, encoding_format="float")
    # Not `vectors[0]`: in bfloat16 a text's last digits depend on those that it is embedded with.
    np.testing.assert_allclose(plain.data[0].embedding, embedder.embed_passages([QUESTION])[0], atol=1e-5)
    asked = client.embeddings.create(model=embedder.name, input=QUESTION, extra_body={"input_type": "query"})
    np.testing.assert_allclose(asked.data[0].embedding, embedder.embed_query(QUESTION), atol=1e-5)
    assert found.usage.prompt_tokens > 0


def test_embeddings_in_base64(url: str, embedder: Embedder) -> None:
    body = {"model": "longleaf/embedder", "input": "a", "encoding_format": "base64"}
    data = httpx.post(f"{url}/v1/embeddings", json=body).json()["data"][0]["embedding"]
    found = struct.unpack(f"<{embedder.dimension}f", base64.b64decode(data))
    np.testing.assert_allclose(found, embedder.embed_passages(["a"])[0], atol=1e-6)


REFUSED: list[tuple[str, dict[str, Any], int, str, str | None]] = [
    ("chat/completions", {"model": "gpt-4o"}, 404, "model_not_found", "model"),
    ("chat/completions", {"model": "longleaf/none"}, 404, "model_not_found", "model"),
    ("chat/completions", {"temperature": 3}, 400, "invalid_value", "temperature"),
    ("chat/completions", {"n": 0}, 400, "invalid_value", "n"),
    ("chat/completions", {"colour": "red"}, 400, "unknown_parameter", "colour"),
    ("chat/completions", {"audio": {"voice": "alloy"}}, 400, "unsupported_parameter", "audio"),
    ("chat/completions", {"functions": []}, 400, "unsupported_parameter", "functions"),
    ("chat/completions", {"store": True}, 400, "unsupported_parameter", "store"),
    ("chat/completions", {"messages": []}, 400, "invalid_value", "messages"),
    ("chat/completions", {"top_logprobs": 3}, 400, "invalid_value", "top_logprobs"),
    ("chat/completions", {"tool_choice": "required"}, 400, "invalid_value", "tool_choice"),
    ("chat/completions", {"model": "longleaf/default", "n": 2}, 400, "unsupported_parameter", "n"),
    ("chat/completions", {"model": "longleaf/default", "stop": "a"}, 400, "unsupported_parameter", "stop"),
    ("chat/completions", {"model": "longleaf/embedder"}, 400, "model_not_possible", None),
    ("chat/completions", {"longleaf": {"top_k": 3}}, 400, "unsupported_parameter", "longleaf"),
    (
        "chat/completions",
        {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
        400,
        "invalid_value",
        "messages[0].content",
    ),
    (
        "chat/completions",
        {"messages": [{"role": "tool", "content": "4", "tool_call_id": "call_9"}]},
        400,
        "invalid_messages",
        "messages.0.tool_call_id",
    ),
    (
        "chat/completions",
        {"tools": [{"type": "function", "function": {"name": "add now"}}]},
        400,
        "invalid_value",
        "tools[0].function.name",
    ),
    ("completions", {"prompt": "a", "suffix": "b"}, 400, "unsupported_parameter", "suffix"),
    ("completions", {"prompt": "a", "best_of": 3}, 400, "unsupported_parameter", "best_of"),
    ("completions", {"prompt": "a", "max_tokens": 0}, 400, "invalid_value", "max_tokens"),
    ("completions", {"prompt": "a", "model": "longleaf/default"}, 400, "model_not_possible", "model"),
    ("completions", {"prompt": [49_999_999]}, 400, "invalid_prompt", None),
    ("completions", {"prompt": "a " * 200_000}, 400, "context_length_exceeded", None),
    ("completions", {"prompt": "a", "logit_bias": {"9999999": 1}}, 400, "invalid_value", None),
    ("embeddings", {"input": "a", "dimensions": 3}, 400, "unsupported_parameter", "dimensions"),
    ("embeddings", {"input": [1, 2]}, 400, "invalid_value", "input"),
    ("embeddings", {"input": "word " * 2000}, 400, "context_length_exceeded", "input"),
]


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: f"{case[0]}: {next(iter(case[1]))}")
def test_errors_have_openais_form(url: str, case: tuple[str, dict[str, Any], int, str, str | None]) -> None:
    route, change, status, code, param = case
    body: dict[str, Any] = {"model": RAW}
    if route == "chat/completions":
        body["messages"] = [said("Hello.")]
    if route == "embeddings":
        body["model"] = "longleaf/embedder"
    answer = httpx.post(f"{url}/v1/{route}", json=body | change, timeout=60)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == (status, code, param), error
    assert error["type"] == "invalid_request_error"
    assert error["message"]


def test_every_way_to_go_wrong_has_openais_form(url: str) -> None:
    unread = httpx.post(f"{url}/v1/completions", content=b"{", headers={"content-type": "application/json"})
    nowhere = httpx.get(f"{url}/v1/nothing")
    other = httpx.get(f"{url}/v1/completions")
    foreign = httpx.post(f"{url}/v1/completions", json={}, headers={"origin": "https://elsewhere.test"})
    huge = httpx.post(f"{url}/v1/completions", content=b" " * (MAX_PROMPT_BYTES + 1))
    found = [
        (answer.status_code, answer.json()["error"]["code"]) for answer in (unread, nowhere, other, foreign)
    ]
    assert found == [
        (400, "malformed_json"),
        (404, "not_found"),
        (405, "method_not_allowed"),
        (403, "cross_origin"),
    ]
    assert (huge.status_code, huge.json()["error"]["code"]) == (413, "too_large")
