"""A client that goes away stops the work: a real server on a real socket, a real model that is reading."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from api.app import create_app
from api.loaders import Loaders
from api.wiring import Service
from model import Engine, Finished
from rag.settings import Settings
from tests.api.conftest import LEASE, listening, until

QUESTION = {"question": "How long is the notice period?", "mode": "prose", "max_tokens": 1024}


class Watched:
    """The real engine; keeps how each of its generations ended."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.began = threading.Event()
        self.over = threading.Event()
        self.tokens = 0
        self.ended: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def generate(self, *given: Any, **named: Any) -> Iterator[Any]:
        try:
            for event in self._engine.generate(*given, **named):
                self.began.set()
                self.tokens += 1
                if isinstance(event, Finished):
                    self.ended.append(event.reason)
                yield event
        finally:
            self.over.set()


@pytest.fixture
def watched(engine: Engine) -> Watched:
    return Watched(engine)


@pytest.fixture
def port(make_settings: Callable[..., Settings], loaders: Loaders, watched: Watched) -> Iterator[int]:
    """Port of a running server that holds one document."""
    settings = make_settings(allowed_hosts="127.0.0.1")
    service = Service(settings, Loaders(embedder=loaders.embedder, engine=lambda _settings: watched))  # type: ignore[arg-type,return-value]
    with listening(create_app(settings, service)) as port:
        _upload(port)
        yield port


def send(
    port: int, method: str, path: str, body: bytes = b"", kind: str = "application/json"
) -> socket.socket:
    """A connection on which a request was sent and nothing read."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=60)
    head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: {kind}\r\n"
    connection.sendall(f"{head}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body)
    return connection


def read(connection: socket.socket) -> bytes:
    """All that comes until the other side closes."""
    with connection:
        return b"".join(iter(lambda: connection.recv(65536), b""))


def _upload(port: int) -> None:
    form = "\r\n".join(
        ["--x", 'Content-Disposition: form-data; name="file"; filename="lease.md"', "", LEASE, "--x--", ""]
    )
    answer = read(send(port, "POST", "/documents", form.encode(), "multipart/form-data; boundary=x"))
    assert b" 202 " in answer.split(b"\r\n")[0]
    until(lambda: b'"status":"ready"' in read(send(port, "GET", "/documents")))


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_leaves_stops_the_work(port: int, watched: Watched, stream: bool) -> None:
    connection = send(port, "POST", "/query", json.dumps(QUESTION | {"stream": stream}).encode())
    assert watched.began.wait(60)
    connection.close()
    assert watched.over.wait(60)
    assert watched.ended in ([], ["cancelled"])  # closed between two steps, or told to stop within one
    assert watched.tokens < QUESTION["max_tokens"] // 4  # type: ignore[operator]
    assert b'"ready":true' in read(send(port, "GET", "/readyz"))


def test_a_client_that_stays_gets_the_whole(port: int, watched: Watched) -> None:
    body = read(
        send(port, "POST", "/query", json.dumps(QUESTION | {"stream": True, "max_tokens": 8}).encode())
    )
    assert b"event: done" in body
    assert watched.ended in (["length"], ["stop"])


def test_many_that_leave_in_the_middle_of_a_stream_leave_nothing_behind(
    port: int, watched: Watched, engine: Engine
) -> None:
    body = json.dumps(QUESTION | {"stream": True}).encode()
    connections = [send(port, "POST", "/query", body) for _ in range(12)]
    assert watched.began.wait(60)
    assert engine.stats().blocks_free < engine.stats().blocks
    for number, connection in enumerate(connections):
        for _ in range(number % 4):  # some before the first byte, some within
            connection.recv(64)
        connection.close()
    until(lambda: engine.stats().running == 0 == engine.stats().waiting)
    # what was read may be found again; nobody holds it
    until(lambda: engine.stats().blocks_free == engine.stats().blocks)
    until(lambda: b"longleaf_http_requests_in_progress 1.0" in read(send(port, "GET", "/metrics")))
    assert b'"ready":true' in read(send(port, "GET", "/readyz"))
