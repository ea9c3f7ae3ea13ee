"""A key that is revoked ends what it has under way: streams, awaited answers, documents that are watched."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from api.app import create_app
from api.loaders import Loaders
from api.wiring import Service
from model import Engine
from rag.settings import Settings
from rag.store.repositories import DEFAULT_SCOPE, Keys
from tests.api.conftest import listening, ready, upload
from tests.api.test_disconnect import QUESTION, Watched


class Slow(Watched):
    """The real engine on a slow machine, until it is told to `hurry`."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self.hurry = threading.Event()

    def generate(self, *given: Any, **named: Any) -> Iterator[Any]:
        for event in super().generate(*given, **named):
            yield event
            self.hurry.wait(0.5)


@dataclass
class House:
    """A running server that asks for keys."""

    service: Service
    port: int
    watched: Slow

    def key(self, role: Any = "reader") -> tuple[str, httpx.Client]:
        """Id of a new key, and a client that shows it."""
        with self.service.db.session() as session:
            made = Keys(session, DEFAULT_SCOPE).create("k", role, created_by="test")
        return made.row.id, self.client(made.text)

    def client(self, key: str) -> httpx.Client:
        """A client that shows a key."""
        headers = {"Authorization": f"Bearer {key}"}
        return httpx.Client(base_url=f"http://127.0.0.1:{self.port}", headers=headers, timeout=120)

    def revoke(self, key_id: str) -> None:
        """As another process would."""
        with self.service.db.session() as session:
            Keys(session, DEFAULT_SCOPE).revoke(key_id)


@pytest.fixture
def house(
    database_url: str,
    make_settings: Callable[..., Settings],
    loaders: Loaders,
    engine: Engine,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[House]:
    """The server, with one document; it looks often."""
    monkeypatch.setattr("api.revoking.POLL_SECONDS", 0.1)
    settings = make_settings(database_url=database_url, auth="on", allowed_hosts="127.0.0.1")
    watched = Slow(engine)
    service = Service(settings, Loaders(embedder=loaders.embedder, engine=lambda _settings: watched))  # type: ignore[arg-type,return-value]
    with listening(create_app(settings, service)) as port:
        found = House(service, port, watched)
        _, admin = found.key("admin")
        with admin:
            ready(admin)
        yield found


@contextmanager
def streaming(client: httpx.Client, path: str, body: dict[str, Any]) -> Iterator[Iterator[str]]:
    """Lines of a stream, the first of which has come."""
    with client.stream("POST", path, json=body) as response:
        assert response.status_code == 200, response.read()
        yield response.iter_lines()


CHAT = {
    "model": "longleaf/raw",
    "messages": [{"role": "user", "content": "Tell me a long story about a mill."}],
    "max_tokens": 1024,
    "stream": True,
}


def test_a_stream_ends_with_its_key_and_says_why(house: House) -> None:
    key_id, client = house.key()
    with client, streaming(client, "/query", QUESTION | {"stream": True}) as lines:
        next(lines)
        assert house.watched.began.wait(60)
        house.revoke(key_id)
        rest = [line for line in lines if line]
    assert house.watched.over.wait(60)
    assert house.watched.ended in ([], ["cancelled"])
    assert rest[-2] == "event: error"
    assert json.loads(rest[-1].removeprefix("data: "))["code"] == "invalid_key"
    assert "event: done" not in rest


def test_a_stream_of_openais_clients_ends_in_their_form(house: House) -> None:
    key_id, client = house.key()
    with client, streaming(client, "/v1/chat/completions", CHAT) as lines:
        next(lines)
        house.revoke(key_id)
        rest = [line for line in lines if line]
    assert json.loads(rest[-1].removeprefix("data: "))["error"]["code"] == "invalid_key"
    assert "data: [DONE]" not in rest


def test_an_answer_that_is_waited_for_ends_too_and_other_keys_go_on(house: House) -> None:
    key_id, client = house.key()
    _, other = house.key()
    got: list[httpx.Response] = []
    with client, other:
        waiting = threading.Thread(target=lambda: got.append(client.post("/query", json=QUESTION)))
        waiting.start()
        assert house.watched.began.wait(60)
        house.revoke(key_id)
        waiting.join(60)
        house.watched.hurry.set()
        short = QUESTION | {"stream": True, "max_tokens": 48}
        with streaming(other, "/query", short) as lines:
            rest = list(lines)
    assert "event: done" in rest
    assert (got[0].status_code, got[0].json()["code"]) == (401, "invalid_key")
    assert got[0].headers["www-authenticate"].startswith("Bearer")


def test_watching_a_document_ends_with_the_key_and_with_the_sign_in(house: House) -> None:
    house.service.worker.wait().stop()
    key_id, client = house.key("editor")
    with client:
        document = upload(client, "later.txt", "It is never read.")
        own = {"Origin": f"http://127.0.0.1:{house.port}"}
        key = client.headers["Authorization"].removeprefix("Bearer ")
        with httpx.Client(base_url=client.base_url, headers=own, timeout=120) as browser:
            assert browser.post("/session", json={"key": key}).status_code == 204
            with browser.stream("GET", f"/documents/{document['id']}/events") as response:
                lines = response.iter_lines()
                next(lines)
                assert browser.delete("/session").status_code == 204
                assert "invalid_key" in "".join(lines)
        with client.stream("GET", f"/documents/{document['id']}/events") as response:
            lines = response.iter_lines()
            next(lines)
            house.revoke(key_id)
            assert "invalid_key" in "".join(lines)
