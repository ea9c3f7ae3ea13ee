"""A client of OpenAI's routes that goes away stops its work, whole or streamed, with all its choices."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from api.app import create_app
from api.loaders import Loaders
from api.wiring import Service
from model import Engine
from rag.embedders.base import Embedder
from rag.settings import Settings
from tests.api.conftest import listening, until
from tests.api.test_disconnect import read, send
from tests.model.checkpoints import tiny_model, write_folder

CHAT: dict[str, Any] = {"messages": [{"role": "user", "content": "Go on."}], "logit_bias": {}}
WORK = [
    ("/v1/chat/completions", CHAT | {"n": 3, "max_tokens": 100_000}),
    ("/v1/completions", {"prompt": ["One.", "Two."], "max_tokens": 100_000}),
]


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    """A model that never stops: its stop ids are not in its head's reach."""
    folder = write_folder(tmp_path_factory.mktemp("endless"), tiny_model())
    return Engine.load(folder, "cpu", "float32")


@pytest.fixture
def port(make_settings: Callable[..., Settings], embedder: Embedder, engine: Engine) -> Iterator[int]:
    settings = make_settings(allowed_hosts="127.0.0.1", ingest_workers=0)
    loaders = Loaders(lambda _settings: embedder, lambda _settings: engine)
    with listening(create_app(settings, Service(settings, loaders))) as port:
        yield port


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(("path", "body"), WORK, ids=[path for path, _ in WORK])
def test_a_client_that_leaves_stops_the_work(
    port: int, engine: Engine, path: str, body: dict[str, Any], stream: bool
) -> None:
    bias = {str(token): -100 for token in engine.tokenizer.stop_ids}
    asked = body | {"model": "longleaf/raw", "stream": stream, "logit_bias": bias}
    before = engine.stats()
    connection = send(port, "POST", path, json.dumps(asked).encode())
    until(lambda: engine.stats().new_tokens > before.new_tokens + 6)
    connection.close()
    until(lambda: engine.stats().running == engine.stats().waiting == 0)
    after = engine.stats()
    assert after.blocks_free == before.blocks_free
    assert after.new_tokens - before.new_tokens < 50_000
    assert b"longleaf/raw" in read(send(port, "GET", "/v1/models"))
