"""What is written down of requests and verbs where keys are asked for, and how it is read and checked."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import text

from api.loaders import Loaders
from rag.settings import Settings
from rag.store.repositories import AuditLog, Scope
from rag.store.session import Database
from tests.api.access_house import CANARY, House, house
from tests.api.conftest import in_process, problem, until

DISCOVERY = {"Accept": "application/json, text/event-stream", "MCP-Protocol-Version": "2025-06-18"}


@pytest.fixture
def found(database_url: str, make_settings: Callable[..., Settings], loaders: Loaders) -> Iterator[House]:
    """A service that asks for keys, with two workspaces."""
    with house(make_settings(database_url=database_url, auth="on"), loaders) as made:
        # the question that the house asks is entered soon after its answer
        until(lambda: "POST /query" in [entry["action"] for entry in _entries(made)])
        yield made


def _entries(found: House, workspace: str = "acme") -> list[dict[str, Any]]:
    database: Database = found.app.state.service.db
    with database.read() as session:
        log = AuditLog(session, Scope(found.workspaces.get(workspace, workspace)))
        assert log.verify() == log.head()[0]
        return [
            {
                "actor": row.done.actor,
                "action": row.done.action,
                "target": row.done.target,
                "status": row.done.status,
            }
            for row in log.entries()
        ]


def _everything(found: House) -> str:
    database: Database = found.app.state.service.db
    with database.read() as session:
        return " ".join(str(row) for row in session.execute(text("SELECT * FROM audit_log")))


@contextmanager
def _refusing_entries(found: House) -> Iterator[None]:
    """The database takes no entry while this lasts."""
    database: Database = found.app.state.service.db
    if database.dialect == "sqlite":
        begin = "CREATE TRIGGER closed BEFORE INSERT ON audit_log BEGIN SELECT RAISE(ABORT, 'closed'); END"
        end = "DROP TRIGGER closed"
    else:
        begin = "ALTER TABLE audit_log ADD CONSTRAINT closed CHECK (seq < 0) NOT VALID"
        end = "ALTER TABLE audit_log DROP CONSTRAINT closed"
    with database.session() as session:
        session.execute(text(begin))
    yield
    with database.session() as session:
        session.execute(text(end))


def _tool(found: House, who: str, name: str, **arguments: Any) -> dict[str, Any]:
    sent = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "tools/call",
        "params": {"name": name, "arguments": arguments},
    }
    answer = found.clients[who].post("/mcp", json=sent, headers=DISCOVERY)
    assert answer.status_code == 200, answer.text
    line = next((each for each in answer.text.splitlines() if each.startswith("data:")), answer.text)
    result: dict[str, Any] = json.loads(line.removeprefix("data:"))["result"]
    return result


def test_every_change_is_written_down_before_its_answer_and_no_text_is(found: House) -> None:
    admin, reader = found.clients["admin"], found.clients["reader"]
    me, other = admin.get("/me").json()["id"], reader.get("/me").json()["id"]
    document = found.document_id()
    assert _entries(found)[-1] == {
        "actor": me, "action": "POST /documents", "target": document, "status": 202,
    }  # fmt: skip
    before, theirs = len(_entries(found)), len(_entries(found, "other"))
    made = admin.post("/keys", json={"name": CANARY}).json()["id"]
    collection = admin.post("/collections", json={"name": f"{CANARY} one"}).json()["id"]
    admin.delete(f"/collections/{CANARY} one")
    admin.delete(f"/documents/{document}")
    reader.delete(f"/documents/{found.document['id']}")
    found.clients["nobody"].delete(f"/documents/{found.document['id']}")
    found.clients["stranger"].delete(f"/documents/{found.document['id']}")
    admin.post(f"/{CANARY}", json={})
    assert [list(entry.values()) for entry in _entries(found)[before:]] == [
        [me, "POST /keys", made, 201],
        [me, "POST /collections", collection, 201],
        [me, "DELETE /collections/{name}", collection, 204],
        [me, "DELETE /documents/{id}", document, 204],
        [other, "DELETE /documents/{id}", found.document["id"], 403],
    ]
    stranger = found.clients["stranger"].get("/me").json()["id"]
    assert [list(entry.values()) for entry in _entries(found, "other")[theirs:]] == [
        [stranger, "DELETE /documents/{id}", found.document["id"], 404]
    ]
    assert CANARY not in _everything(found)
    assert not any(key in _everything(found) for key in found.keys.values())


def test_what_an_operator_does_stands_where_it_is_done(found: House) -> None:
    operator = found.clients["operator"]
    me = operator.get("/me").json()["id"]
    key = operator.post("/keys?workspace=other", json={"name": "k"}).json()["id"]
    assert list(_entries(found, "other")[-1].values()) == [me, "POST /keys", key, 201]
    made = operator.post("/workspaces", json={"name": "third"}).json()["id"]
    assert list(_entries(found, "service")[-1].values()) == [me, "POST /workspaces", made, 201]
    found.clients["reader"].post("/users", json={"email": "eve@example.org"})
    assert _entries(found, "service")[-1]["status"] == 403


def test_a_browser_that_signs_in_and_out_is_written_down(found: House) -> None:
    me = found.clients["reader"].get("/me").json()["id"]
    browser = TestClient(found.app, base_url="https://testserver")
    assert browser.post("/session", json={"key": found.keys["reader"]}).status_code == 204
    assert browser.delete("/session", headers={"Sec-Fetch-Site": "same-origin"}).status_code == 204
    browser.post("/session", json={"key": found.keys["wrong_key"]})
    assert [list(entry.values()) for entry in _entries(found)[-2:]] == [
        [me, "POST /session", "", 204],
        [me, "DELETE /session", "", 204],
    ]


def test_questions_searches_and_downloads_are_written_down_soon_by_ids(found: House) -> None:
    reader, document = found.clients["reader"], found.document["id"]
    collection = reader.get("/collections/mill").json()["id"]
    before = len(_entries(found))
    reader.post("/search", json={"query": CANARY, "collection": "mill"})
    answer = reader.post(
        "/query", json={"question": f"rent of the {CANARY}?", "document_ids": [document], "mode": "quotes"}
    ).json()["answer_id"]
    asked = {"question": f"rent of the {CANARY}?", "collection": "mill", "mode": "quotes", "stream": True}
    with reader.stream("POST", "/query", json=asked) as stream:
        streamed = json.loads([line for line in stream.iter_lines() if line.startswith("data:")][-1][5:])
    chat = {"model": "longleaf/raw", "messages": [{"role": "user", "content": CANARY}], "max_tokens": 2}
    assert reader.post("/v1/chat/completions", json=chat).status_code == 200
    reader.get(f"/documents/{document}/content")
    reader.get("/documents")
    until(lambda: len(_entries(found)) == before + 5)
    assert [tuple(entry.values())[1:] for entry in _entries(found)[before:]] == [
        ("POST /search", collection, 200),
        ("POST /query", f"{collection} {document} {answer}", 200),
        ("POST /query", f"{collection} {streamed['answer_id']}", 200),
        ("POST /v1/chat/completions", "", 200),
        ("GET /documents/{id}/content", document, 200),
    ]
    assert CANARY not in _everything(found)


def test_tools_are_written_down_by_their_names(found: House) -> None:
    me = found.clients["editor"].get("/me").json()["id"]
    added = _tool(found, "editor", "add_document", filename=f"{CANARY}.txt", content=f"{CANARY} flows")
    document = added["structuredContent"]["id"]
    assert list(_entries(found)[-1].values()) == [me, "mcp add_document", document, 200]
    before = len(_entries(found))
    _tool(found, "editor", "read_passage", document_id=found.document["id"])
    until(lambda: len(_entries(found)) == before + 1)
    assert _entries(found)[-1]["action"] == "mcp read_passage"
    assert _entries(found)[-1]["target"] == found.document["id"]
    assert CANARY not in _everything(found)


def test_a_change_that_can_not_be_written_down_is_not_acknowledged(found: House) -> None:
    before = len(_entries(found))
    with _refusing_entries(found):
        refused = problem(found.clients["admin"].post("/keys", json={"name": "k"}), 503, "audit_unavailable")
        assert "key" not in refused
        assert _tool(found, "editor", "add_document", filename="a.txt", content="b")["isError"]
    assert len(_entries(found)) == before
    assert found.clients["admin"].post("/keys", json={"name": "k"}).status_code == 201
    assert len(_entries(found)) == before + 1


def test_what_could_not_be_written_at_once_goes_with_the_next(found: House) -> None:
    reader, before = found.clients["reader"], len(_entries(found))
    with _refusing_entries(found):
        for _ in range(3):
            assert reader.post("/search", json={"query": "rent", "collection": "mill"}).status_code == 200
    reader.post("/search", json={"query": "rent", "collection": "mill"})
    until(lambda: len(_entries(found)) == before + 4)


def test_where_nobody_is_asked_nothing_is_written(sqlite_client: TestClient) -> None:
    sqlite_client.post("/collections", json={"name": "mine"})
    application: Any = sqlite_client.app
    with application.state.service.db.read() as session:
        assert AuditLog.chains(session) == []


def test_an_admin_reads_the_log_of_the_workspace_and_an_operator_that_of_any(
    found: House, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    admin, operator = found.clients["admin"], found.clients["operator"]
    for _ in range(3):
        found.key_id()
    whole = admin.get("/audit", params={"limit": 1000}).json()["entries"]
    assert [entry["seq"] for entry in whole] == list(range(1, len(whole) + 1))
    paged, cursor = [], 0
    while cursor is not None:
        page = admin.get("/audit", params={"limit": 2, "cursor": cursor}).json()
        paged += page["entries"]
        cursor = page["next_cursor"]
    assert paged == whole
    exported = admin.get("/audit/export")
    assert [json.loads(line) for line in exported.text.splitlines()] == whole
    file = tmp_path / "log.jsonl"
    file.write_text(exported.text)
    longleaf = in_process(capsys)
    last = whole[-1]
    anchor = f"{last['workspace']}:{last['seq']}:{last['hash']}"
    assert longleaf("audit", "verify", file, "--known", anchor).returncode == 0
    file.write_text(exported.text.replace("POST /keys", "POST /kegs", 1))
    assert "was changed" in longleaf("audit", "verify", file).stdout
    lines = exported.text.splitlines(keepends=True)
    file.write_text("".join([*lines[:1], *lines[2:]]))
    assert "is missing" in longleaf("audit", "verify", file).stdout
    file.write_text("".join(lines[:-1]))
    assert longleaf("audit", "verify", file, "--known", anchor).returncode == 1
    theirs = operator.get("/audit", params={"workspace": "other"}).json()["entries"]
    assert {entry["workspace"] for entry in theirs} <= {found.workspaces["other"]}
    operator.post("/workspaces", json={"name": "fourth"})
    of_service = operator.get("/audit", params={"workspace": "service"}).json()["entries"]
    assert of_service[-1]["action"] == "POST /workspaces"
    problem(admin.get("/audit", params={"workspace": "service"}), 404, "workspace_not_found")
    problem(admin.get("/audit/export", params={"workspace": "other"}), 404, "workspace_not_found")


def test_the_log_is_exported_and_checked_by_command(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in [name for name in os.environ if name.startswith("LONGLEAF_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("LONGLEAF_DATABASE_URL", database_url)
    monkeypatch.setenv("LONGLEAF_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    longleaf = in_process(capsys)
    key = json.loads(longleaf("keys", "create", "bot", "--json").stdout)
    longleaf("keys", "revoke", key["id"])
    longleaf("users", "grant", "ada@example.org", "reader")
    longleaf("workspaces", "create", "acme")
    lines = [json.loads(line) for line in longleaf("audit", "export").stdout.splitlines()]
    assert [(line["workspace"], line["actor"], line["action"]) for line in lines] == [
        ("service", "command line", "workspaces create"),
        ("ws_default", "command line", "keys create"),
        ("ws_default", "command line", "keys revoke"),
        ("ws_default", "command line", "users grant reader"),
    ]
    assert key["key"] not in json.dumps(lines)
    log = tmp_path / "log.jsonl"
    exported = longleaf("audit", "export", log, "--after", "2", "--workspace", "ws_default")
    assert len(log.read_text().splitlines()) == 1
    assert longleaf("audit", "export", log).returncode == 1  # it is there
    assert longleaf("audit", "verify", log).returncode == 0
    anchor = exported.stderr.split("--known ")[-1].strip()
    assert longleaf("audit", "verify", "--known", anchor).returncode == 0
    assert longleaf("audit", "verify", "--known", "1:x").returncode == 1
    assert longleaf("audit", "verify", "--known", f"ws_gone:1:{'0' * 64}").returncode == 1
    database = Database(database_url)
    with database.session() as session:
        session.execute(text("UPDATE audit_log SET actor = 'somebody' WHERE seq = 2"))
    database.dispose()
    broken = longleaf("audit", "verify", "--json")
    assert broken.returncode == 1
    assert "entry 2 of ws_default" in json.loads(broken.stdout)["problems"][0]
