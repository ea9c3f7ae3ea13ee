"""Log lines as JSON: those of a request carry its id, none a word of a document, its name or a question."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient

from api.logs import _JsonFormatter
from tests.api.conftest import until, upload, wait_for

SECRET = "zyxquicksilver"


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    """What `longleaf serve` would write with `LONGLEAF_LOG_FORMAT=json` and `LONGLEAF_LOG_LEVEL=debug`."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(_JsonFormatter())
    names = ("api", "ingest", "rag", "model")
    before = {name: logging.getLogger(name).level for name in names}
    root = logging.getLogger()
    root.addHandler(handler)
    for name in names:
        logging.getLogger(name).setLevel(logging.DEBUG)
    yield stream
    root.removeHandler(handler)
    for name, level in before.items():
        logging.getLogger(name).setLevel(level)


def of(stream: io.StringIO, logger: str) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert all({"time", "level", "logger", "message"} <= set(line) for line in found)
    return [line for line in found if line["logger"].startswith(logger)]


def test_lines_carry_the_id_of_their_request_and_nobody_s_words(
    client: TestClient, lines: io.StringIO
) -> None:
    until(lambda: client.get("/readyz").status_code == 200)
    text = f"# The {SECRET} lease\n\nThe {SECRET} is due on the first of March."
    document = wait_for(
        client, upload(client, f"{SECRET}.md", text, metadata=json.dumps({"k": SECRET}))["id"]
    )
    assert document["status"] == "ready"
    # documents that can't be read, each in another way
    for name, content in ((f"{SECRET}.pdf", f"%PDF-1.7 {SECRET}"), (f"{SECRET}.docx", f"PK\x03\x04{SECRET}")):
        assert wait_for(client, upload(client, name, content)["id"])["status"] == "failed"
    question = f"When is the {SECRET} due?"
    asked = [
        client.post("/query", json={"question": question, "mode": "answer", "max_tokens": 8}),
        client.post("/query", json={"question": question, "stream": True}),
        client.post("/search", json={"query": question}),
        client.post("/query", json={"question": question, "collection": "none"}),
        client.post("/query", json={"question": 1, "about": SECRET}),
        client.post(
            "/v1/chat/completions",
            json={
                "model": "longleaf/raw",
                "messages": [{"role": "user", "content": SECRET}],
                "max_tokens": 4,
            },
        ),
        client.get(f"/documents/{document['id']}/text"),
        client.delete(f"/documents/{document['id']}", headers={"X-Request-ID": "mine-1"}),
    ]
    ids = [response.headers["x-request-id"] for response in asked]
    assert ids[-1] == "mine-1"
    access = {line["request_id"]: line for line in of(lines, "api.access")}
    for response, request_id in zip(asked, ids, strict=True):
        assert access[request_id]["status"] == response.status_code
        assert access[request_id]["ms"] >= 0
    assert of(lines, "ingest"), "the worker says nothing"
    assert SECRET not in lines.getvalue()
    # at `debug`, where the addresses that machines ask stand as well
    assert any(line["message"] == "GET /readyz" for line in of(lines, "api.access"))


def test_an_error_nobody_foresaw_is_logged_with_the_id_that_its_client_gets(
    sqlite_client: TestClient, lines: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("by chance")

    monkeypatch.setattr("api.routes.health.version", broken)
    answer = sqlite_client.get("/version")
    assert answer.status_code == 500
    assert "by chance" not in answer.text
    logged = [line for line in of(lines, "api") if "exception" in line]
    assert [line["request_id"] for line in logged] == [answer.json()["request_id"]]
    assert "ZeroDivisionError" in logged[0]["exception"]
