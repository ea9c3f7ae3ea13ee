"""Limits of keys and workspaces as clients meet them, and lines that are full."""

from __future__ import annotations

import json
import select
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient

from api.app import create_app
from api.lines import SEARCH_THREADS
from api.loaders import Loaders
from api.wiring import ANSWER_THREADS, Service
from rag.principal import Principal
from rag.settings import Settings
from rag.store.repositories import Credentials
from tests.api.access_house import House, house
from tests.api.conftest import LEASE, in_process, listening, problem, ready, until

ASKED = {"question": "What is the rent?", "collection": "mill", "mode": "quotes"}


@pytest.fixture
def found(database_url: str, make_settings: Callable[..., Settings], loaders: Loaders) -> Iterator[House]:
    """A service that asks for keys, with two workspaces."""
    settings = make_settings(database_url=database_url, auth="on", answer_mode="answer")
    with house(settings, loaders) as made:
        yield made


def _limited(found: House, **limits: int) -> tuple[TestClient, str]:
    """A client with a key of its own, and the key's id."""
    made = found.clients["admin"].post("/keys", json={"name": "k", "role": "editor", **limits}).json()
    key = {"Authorization": f"Bearer {made['key']}"}
    return TestClient(found.app, raise_server_exceptions=False, headers=key), made["id"]


def test_a_key_has_its_requests_in_a_minute_and_is_told_of_them(found: House) -> None:
    client, key = _limited(found, requests_per_minute=3)
    for left in (2, 1, 0):
        answer = client.get("/me")
        assert answer.status_code == 200
        assert answer.headers["ratelimit-policy"] == '"key-requests";q=3;w=60'
        name, remaining, full_in = answer.headers["ratelimit"].split(";")
        assert (name, remaining) == ('"key-requests"', f"r={left}")
        assert 0 < int(full_in.removeprefix("t=")) <= 60
    refused = client.post("/documents", files={"file": ("a.txt", b"x" * 3_000_000)})
    told = problem(refused, 429, "rate_limited")
    assert (told["policy"], told["limit"]) == ("key-requests", 3)
    assert 1 <= int(refused.headers["retry-after"]) == told["retry_after"] <= 20
    assert refused.headers["ratelimit"].startswith('"key-requests";r=0;')
    assert client.get("/healthz").status_code == 200
    # others are not concerned, and the limit can be lifted
    assert "ratelimit" not in found.clients["admin"].get("/me").headers
    lifted = found.clients["admin"].patch(f"/keys/{key}", json={"requests_per_minute": 0}).json()
    assert (lifted["requests_per_minute"], lifted["tokens_per_minute"]) == (0, None)
    assert client.get("/me").status_code == 200


def test_a_refused_request_is_in_openais_form_under_v1(found: House) -> None:
    client, _ = _limited(found, requests_per_minute=1, tokens_per_minute=10_000)
    sent = {"model": "longleaf/raw", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 2}
    answer = client.post("/v1/chat/completions", json=sent)
    assert answer.status_code == 200
    assert answer.headers["x-ratelimit-limit-requests"] == "1"
    assert answer.headers["x-ratelimit-remaining-requests"] == "0"
    assert answer.headers["x-ratelimit-limit-tokens"] == "10000"
    assert answer.headers["x-ratelimit-reset-requests"].endswith("s")
    refused = client.post("/v1/chat/completions", json=sent)
    assert refused.status_code == 429
    error = refused.json()["error"]
    assert (error["type"], error["code"]) == ("rate_limit_error", "rate_limited")
    assert int(refused.headers["retry-after"]) >= 1


def test_a_workspace_has_its_requests_for_all_of_its_keys(found: House) -> None:
    operator, acme = found.clients["operator"], found.workspaces["acme"]
    one, _ = _limited(found)
    other, _ = _limited(found)
    shown = operator.patch(f"/workspaces/{acme}", json={"requests_per_minute": 2}).json()
    assert (shown["id"], shown["requests_per_minute"], shown["max_documents"]) == (acme, 2, None)
    assert one.get("/me").status_code == 200
    assert other.get("/me").status_code == 200
    told = problem(one.get("/me"), 429, "rate_limited")
    assert told["policy"] == "workspace-requests"
    assert found.clients["stranger"].get("/me").status_code == 200


@pytest.mark.parametrize("way", ["query", "stream", "chat", "mcp"])
def test_tokens_are_counted_whichever_door_is_taken(found: House, way: str) -> None:
    client, _ = _limited(found, tokens_per_minute=8)
    raw = {"model": "longleaf/raw", "messages": [{"role": "user", "content": "Say something long"}]}
    tool = {"name": "ask", "arguments": {"question": ASKED["question"], "collection": "mill"}}
    headers = {"Accept": "application/json, text/event-stream", "MCP-Protocol-Version": "2025-06-18"}
    ask: dict[str, Callable[[], httpx.Response]] = {
        "query": lambda: client.post("/query", json={**ASKED, "mode": "answer"}),
        "stream": lambda: client.post("/query", json={**ASKED, "mode": "answer", "stream": True}),
        "chat": lambda: client.post("/v1/chat/completions", json={**raw, "max_tokens": 4, "stream": True}),
        "mcp": lambda: client.post(
            "/mcp",
            json={"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": tool},
            headers=headers,
        ),
    }
    assert ask[way]().status_code == 200
    until(lambda: ask[way]().status_code == 429)
    refused = ask[way]()
    assert int(refused.headers["retry-after"]) >= 1
    # what no model works on goes on
    assert client.get("/documents").status_code == 200
    assert client.post("/search", json={"query": "rent", "collection": "mill"}).status_code == 200


def test_a_quota_of_documents_refuses_an_upload_and_says_so(found: House) -> None:
    operator, admin = found.clients["operator"], found.clients["admin"]
    operator.patch(f"/workspaces/{found.workspaces['acme']}", json={"max_documents": 1})
    sent = {"files": {"file": ("a.txt", b"one more")}}
    assert problem(admin.post("/documents", **sent), 409, "document_quota")["limit"] == 1
    operator.patch("/workspaces/acme", json={"max_documents": None, "max_bytes": 10})
    assert problem(admin.post("/documents", **sent), 413, "storage_quota")["limit"] == 10
    for name in ("none", "%00"):
        problem(operator.patch(f"/workspaces/{name}", json={}), 404, "workspace_not_found")
        problem(admin.patch(f"/keys/{name}", json={}), 404, "key_not_found")
    problem(operator.patch("/workspaces/acme", json={"max_bytes": -1}), 422, "invalid_request")
    problem(admin.patch("/workspaces/acme", json={"max_bytes": 0}), 403, "forbidden")


def test_limits_are_set_by_command(
    database_url: str,
    make_settings: Callable[..., Settings],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    settings = make_settings(database_url=database_url)
    monkeypatch.setenv("LONGLEAF_DATABASE_URL", database_url)
    monkeypatch.setenv("LONGLEAF_DATA_DIR", str(settings.data_dir))
    longleaf = in_process(capsys)
    key = json.loads(longleaf("keys", "create", "bot", "--requests", "60", "--json").stdout)
    assert (key["requests_per_minute"], key["tokens_per_minute"]) == (60, None)
    changed = json.loads(longleaf("keys", "limit", key["id"], "--tokens", "0", "--json").stdout)
    assert (changed["requests_per_minute"], changed["tokens_per_minute"]) == (60, 0)
    changed = json.loads(longleaf("keys", "limit", key["id"], "--requests", "-1", "--json").stdout)
    assert changed["requests_per_minute"] is None
    shown = longleaf("workspaces", "limit", "ws_default", "--documents", "9", "--bytes", "0", "--json").stdout
    assert (json.loads(shown)["max_documents"], json.loads(shown)["max_bytes"]) == (9, 0)
    assert longleaf("workspaces", "limit", "none", "--documents", "9").returncode == 1


class HalfSent:
    """A request whose last byte has not come yet."""

    def __init__(self, port: int, path: str, body: bytes, kind: str) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=60)
        head = (
            f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        )
        self.socket.sendall(head.encode() + body[:-1])
        self._last = body[-1:]

    def finish(self) -> int:
        """Send the last byte; the status of the answer."""
        self.socket.sendall(self._last)
        return self.status()

    def status(self) -> int:
        """The status of the answer, once it is there."""
        answer = b""
        while piece := self.socket.recv(65536):
            answer += piece
        return int(answer.split()[1])


@contextmanager
def _crowd(count: int, let_in: int, *request: Any) -> Iterator[list[HalfSent]]:
    """So many half-sent requests, of which some are let in and wait: those. The others are refused by now."""
    with ExitStack() as stack:
        crowd = [HalfSent(*request) for _ in range(count)]
        for each in crowd:
            stack.callback(each.socket.close)

        def answered() -> list[HalfSent]:
            readable = select.select([each.socket for each in crowd], [], [], 0)[0]
            return [each for each in crowd if each.socket in readable]

        until(lambda: len(answered()) == count - let_in)
        refused = answered()
        assert [each.status() for each in refused] == [503] * (count - let_in)
        yield [each for each in crowd if each not in refused]


def test_a_full_line_of_questions_refuses_at_once_and_finishes_what_it_let_in(
    make_settings: Callable[..., Settings], loaders: Loaders
) -> None:
    settings = make_settings(max_waiting=1)
    app = create_app(settings, Service(settings, loaders))
    asked = {**ASKED, "collection": "default"}
    body, places = json.dumps(asked).encode(), ANSWER_THREADS + 1
    with listening(app) as port, httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
        ready(client, "lease.md", LEASE)
        with _crowd(places + 3, places, port, "/query", body, "application/json") as waiting:
            refused = client.post("/query", json=asked)
            problem(refused, 503, "overloaded")
            assert int(refused.headers["retry-after"]) >= 1
            assert client.post("/v1/embeddings", json={}).json()["error"]["code"] == "overloaded"
            assert client.get("/documents").status_code == 200
            assert client.post("/search", json={"query": "rent"}).status_code == 200
            assert [each.finish() for each in waiting] == [200] * places
        assert client.post("/query", json=asked).status_code == 200


def test_a_full_line_refuses_before_it_asks_who_it_is(
    make_settings: Callable[..., Settings], loaders: Loaders, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = make_settings(auth="on", max_waiting=0, ingest_workers=0)
    service = Service(settings, loaders)
    with (
        TestClient(create_app(settings, service), raise_server_exceptions=False) as client,
        ExitStack() as held,
    ):
        wrong = {"json": {"query": "rent"}, "headers": {"Authorization": "Bearer llf_nobody"}}
        looked: list[object] = []
        real = Credentials.of_key

        def look(self: Credentials, key: str) -> Principal:
            looked.append(key)
            return real(self, key)

        monkeypatch.setattr(Credentials, "of_key", look)
        for _ in range(SEARCH_THREADS):
            problem(client.post("/search", **wrong), 401, "invalid_key")  # whom nobody knows takes no place
            held.enter_context(service.lines.inside("searches"))
        assert len(looked) == SEARCH_THREADS
        problem(client.post("/search", **wrong), 503, "overloaded")
        problem(client.post("/search", json={"query": "rent"}), 503, "overloaded")
        assert len(looked) == SEARCH_THREADS
        held.close()
        problem(client.post("/search", **wrong), 401, "invalid_key")


def test_uploads_beyond_those_at_a_time_are_refused_and_others_finish(
    make_settings: Callable[..., Settings], loaders: Loaders
) -> None:
    settings = make_settings(max_uploads=1)
    app = create_app(settings, Service(settings, loaders))
    boundary = "b0undary"
    body = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="a.txt"\r\n\r\n'
        f"The mill.\r\n--{boundary}--\r\n"
    ).encode()
    kind = f"multipart/form-data; boundary={boundary}"
    with listening(app) as port, httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
        sent: dict[str, Any] = {"files": {"file": ("b.txt", b"x" * 3_000_000)}}
        with _crowd(3, 1, port, "/documents", body, kind) as [waiting]:
            problem(client.post("/documents", **sent), 503, "overloaded")
            assert waiting.finish() == 202
        assert client.post("/documents", **sent).status_code == 202


def test_uploads_are_refused_while_too_many_documents_wait(
    database_url: str, make_settings: Callable[..., Settings], loaders: Loaders
) -> None:
    settings = make_settings(database_url=database_url, max_queued_documents=2, ingest_workers=0)
    with TestClient(
        create_app(settings, Service(settings, loaders)), raise_server_exceptions=False
    ) as client:
        for name in ("one", "two"):
            taken = client.post("/documents", files={"file": (f"{name}.txt", name.encode())})
            assert taken.status_code == 202
        refused = client.post("/documents", files={"file": ("three.txt", b"three")})
        problem(refused, 503, "overloaded")
        assert int(refused.headers["retry-after"]) >= 1
        client.delete(f"/documents/{taken.json()['documents'][0]['id']}")
        assert client.post("/documents", files={"file": ("three.txt", b"three")}).status_code == 202


def test_the_same_lines_hold_for_documents_that_come_by_mcp(
    database_url: str, make_settings: Callable[..., Settings], loaders: Loaders
) -> None:
    settings = make_settings(
        database_url=database_url, max_queued_documents=2, max_uploads=1, ingest_workers=0
    )
    service = Service(settings, loaders)

    def add(client: TestClient, name: str) -> dict[str, Any]:
        params = {"name": "add_document", "arguments": {"filename": f"{name}.txt", "content": name}}
        response = client.post(
            "/mcp",
            json={"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params},
            headers={"Accept": "application/json, text/event-stream", "MCP-Protocol-Version": "2025-06-18"},
        )
        data = next(line for line in response.text.splitlines() if '"jsonrpc"' in line)
        result: dict[str, Any] = json.loads(data.removeprefix("data: "))["result"]
        return result

    def refused(result: dict[str, Any]) -> bool:
        return bool(result.get("isError")) and result["content"][0]["text"].startswith("overloaded: ")

    with TestClient(create_app(settings, service), raise_server_exceptions=False) as client:
        with service.lines.inside("uploads"):
            assert refused(add(client, "one"))
        taken = [add(client, name) for name in ("one", "two")]
        assert not any(each.get("isError") for each in taken), taken
        assert refused(add(client, "three"))
        client.delete(f"/documents/{taken[0]['structuredContent']['id']}")
        assert not add(client, "three").get("isError")
