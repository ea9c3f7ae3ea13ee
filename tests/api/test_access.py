"""Every route, tried as everybody: who is let in, who is told that there is nothing, and that nothing leaks.

A route, or a verb of the command, without its line in a table here fails.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
import typer.main
from fastapi import FastAPI
from fastapi.testclient import TestClient

from api.access import Need, declared
from api.app import create_app
from api.cli import app as command
from api.loaders import Loaders
from api.logs import _JsonFormatter
from rag.settings import Settings
from tests.api.access_house import ACME, CANARY, EVERYBODY, House, house
from tests.api.conftest import problem

MCP = {
    "json": {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}},
    "headers": {"Accept": "application/json, text/event-stream", "MCP-Protocol-Version": "2025-06-18"},
}
FEW = {"max_tokens": 4}
CHANGES = frozenset({"editor", "manager", "admin", "operator"})
TUS = {"Tus-Resumable": "1.0.0"}
BYTES = {**TUS, "Upload-Offset": "0", "Content-Type": "application/offset+octet-stream"}
FORM: dict[str, Any] = {"files": {"file": (f"{CANARY}.txt", b"")}}


@dataclass(frozen=True)
class Line:
    """How a route is tried. `place` fills the braces of its path, afresh for each try, as somebody's target.

    `foreign` is what the admin of another workspace gets: 404 where the path names something of this one.
    `manager`, where it is given, is what the admin of one collection alone gets.
    """

    need: Need
    place: Callable[[House, str], str] | None = None
    send: dict[str, Any] = field(default_factory=dict)
    foreign: int = 404
    manager: int | None = None


def _doc(house: House, _who: str) -> str:
    return str(house.document["id"])


def _mill(house: House, _who: str) -> str:
    return str(house.clients["admin"].get("/collections/mill").json()["id"])


def _new_doc(house: House, who: str) -> str:
    return house.document_id() if who in CHANGES else _doc(house, who)


def _file(text: str = "") -> dict[str, Any]:
    return {"files": {"file": (f"{text or CANARY}.txt", text.encode())}}


LINES: dict[str, Line] = {
    "GET /": Line("anyone"),
    "GET /assets": Line("anyone", foreign=200),
    "GET /docs": Line("anyone"),
    "GET /docs/{name}": Line("anyone", lambda _h, _w: "start.js"),
    "GET /openapi.json": Line("anyone"),
    "GET /healthz": Line("anyone"),
    "GET /readyz": Line("anyone"),
    "POST /session": Line("anyone", send={"json": {"key": "llf_0"}}),
    "DELETE /session": Line("anyone"),
    "GET /session": Line("anyone"),
    "GET /session/oidc": Line("anyone"),
    "GET /session/oidc/callback": Line("anyone"),
    "GET /session/oidc/sign-out": Line("anyone"),
    "GET /version": Line("reader", foreign=200),
    "GET /me": Line("reader", foreign=200),
    "GET /documents": Line("reader", foreign=200),
    "GET /documents/{id}": Line("reader", _doc),
    "GET /documents/{id}/versions": Line("reader", _doc),
    "GET /documents/{id}/events": Line("reader", _doc),
    "GET /documents/{id}/chunks": Line("reader", _doc),
    "GET /documents/{id}/text": Line("reader", _doc),
    "GET /documents/{id}/content": Line("reader", _doc),
    "GET /documents/{id}/pages/{number}": Line("reader", lambda h, _w: f"{h.document['id']} 1"),
    "GET /documents/{id}/pages/{number}/picture": Line("reader", lambda h, _w: f"{h.document['id']} 1"),
    "GET /documents/{id}/pages/{number}/boxes": Line(
        "reader", lambda h, _w: f"{h.document['id']} 1", {"params": {"start": 0, "end": 9}}
    ),
    "POST /query": Line(
        "reader", send={"json": {"question": "rent?", "collection": "mill", "mode": "quotes"}}
    ),
    "POST /search": Line("reader", send={"json": {"query": "rent", "collection": "mill"}}),
    "GET /v1/models": Line("reader", foreign=200),
    "GET /v1/models/{model:path}": Line("reader", lambda _h, _w: "longleaf/mill"),
    "POST /v1/chat/completions": Line(
        "reader",
        send={
            "json": {"model": "longleaf/mill", "messages": [{"role": "user", "content": "What rent?"}], **FEW}
        },
    ),
    "POST /v1/responses": Line(
        "reader", send={"json": {"model": "longleaf/mill", "input": "What rent?", "max_output_tokens": 16}}
    ),
    "POST /v1/completions": Line(
        "reader", send={"json": {"model": "longleaf/raw", "prompt": "a", **FEW}}, foreign=200
    ),
    "POST /v1/embeddings": Line(
        "reader", send={"json": {"model": "longleaf/embedder", "input": "a"}}, foreign=200
    ),
    "POST /mcp": Line("reader", send=MCP, foreign=200),
    "GET /answers/{id}": Line("reader", lambda h, _w: h.answer_id),
    "POST /answers/{id}/replay": Line("reader", lambda h, _w: h.answer_id),
    "POST /answers/{id}/feedback": Line(
        "reader", lambda h, _w: h.answer_id, {"json": {"correct": False, "comment": CANARY}}
    ),
    "DELETE /answers/{id}/feedback": Line("reader", House.judged),
    "GET /feedback": Line("editor", foreign=200),
    "GET /conversations": Line("reader", foreign=200),
    "POST /conversations": Line("reader", send={"json": {"collection": "mill"}}),
    "GET /conversations/{id}": Line("reader", House.conversation),
    "GET /conversations/{id}/export": Line("reader", House.conversation),
    "PATCH /conversations/{id}": Line("reader", House.conversation, {"json": {"title": "another"}}),
    "DELETE /conversations/{id}": Line("reader", House.conversation),
    "GET /collections": Line("reader", foreign=200),
    "GET /collections/{name}": Line("reader", _mill),
    "POST /documents": Line("editor", send={**_file("new"), "data": {"collection": "mill"}}, foreign=202),
    "PUT /documents/{id}": Line("editor", _new_doc, _file("other")),
    "PATCH /documents/{id}": Line("editor", _new_doc, {"json": {"metadata": {"year": 1}}}),
    "DELETE /documents/{id}": Line("editor", _new_doc),
    "POST /documents/{id}/retry": Line("editor", _new_doc),
    "POST /documents/{id}/cancel": Line("editor", _new_doc),
    "OPTIONS /uploads": Line("editor", foreign=204),
    "POST /uploads": Line(
        "editor", send={"headers": {**TUS, "Upload-Length": "9"}}, foreign=201, manager=403
    ),
    "HEAD /uploads/{id}": Line("editor", House.upload_id, {"headers": TUS}),
    "PATCH /uploads/{id}": Line("editor", House.upload_id, {"headers": BYTES, "content": b"some"}),
    "DELETE /uploads/{id}": Line("editor", House.upload_id, {"headers": TUS}),
    "POST /collections": Line("editor", send={"json": {"name": "made"}}, foreign=201, manager=403),
    "PATCH /collections/{name}": Line("manager", _mill, {"json": {"max_context_tokens": 512}}),
    "DELETE /collections/{name}": Line("manager", lambda h, _w: h.collection(), manager=404),
    "GET /keys": Line("admin", foreign=200),
    "POST /keys": Line("admin", send={"json": {"name": "k"}}, foreign=201),
    "PATCH /keys/{id}": Line("admin", lambda h, _w: h.key_id(), {"json": {"requests_per_minute": 9000}}),
    "POST /keys/{id}/rotate": Line("admin", lambda h, _w: h.key_id(), {"json": {}}),
    "DELETE /keys/{id}": Line("admin", lambda h, _w: h.key_id()),
    "GET /audit": Line("admin", foreign=200),
    "GET /audit/export": Line("admin", foreign=200),
    "GET /members": Line("admin", foreign=200),
    "PUT /members": Line("admin", send={"json": {"email": "eve@example.org", "role": "reader"}}, foreign=200),
    "DELETE /members/{id}": Line("admin", lambda h, _w: h.member_id()),
    "GET /webhooks": Line("admin", foreign=200),
    "POST /webhooks": Line("admin", send={"json": {"url": "https://hooks.example.org/"}}, foreign=201),
    "PATCH /webhooks/{id}": Line("admin", lambda h, _w: h.webhook_id, {"json": {"disabled": True}}),
    "POST /webhooks/{id}/rotate": Line("admin", lambda h, _w: h.webhook_id, {"json": {}}),
    "GET /webhooks/{id}/deliveries": Line("admin", lambda h, _w: h.webhook_id),
    "POST /webhooks/{id}/deliveries/{delivery}/send": Line("admin", lambda h, _w: h.delivery()),
    "DELETE /webhooks/{id}": Line("admin", lambda h, _w: h.webhook()),
    "GET /metrics": Line("operator"),
    "GET /operations": Line("operator"),
    "GET /users": Line("operator"),
    "POST /users": Line("operator", send={"json": {"email": "bob@example.org"}}),
    "PATCH /users/{id}": Line("operator", lambda h, _w: h.user_id, {"json": {"disabled": False}}),
    "GET /workspaces": Line("operator"),
    "POST /workspaces": Line("operator", send={"json": {"name": "made"}}),
    "PATCH /workspaces/{id}": Line(
        "operator", lambda h, _w: h.workspaces["other"], {"json": {"max_documents": 9000}}
    ),
}

KEEPER = "whoever can read the settings and write to the store: the keeper of the machine"
VERBS: dict[str, str] = dict.fromkeys(
    (
        *("serve", "ingest", "ask", "search", "status", "doctor", "models", "quantize", "eval"),
        "distil",
        *("migrate", "backup", "restore", "export", "import", "verify", "gc", "reembed", "sync", "shards"),
        *("keys", "users", "workspaces", "mcp", "audit", "worker"),
    ),
    KEEPER,
)


def _name(route: Any, method: str) -> str:
    return f"{method} {route.path}"


def _routes(app: FastAPI) -> dict[str, Need]:
    found: dict[str, Need] = {}
    for route, need in declared(app):
        for method in sorted(
            (route.methods or {"GET"}) - ({"HEAD"} if "GET" in (route.methods or ()) else set())
        ):
            found[_name(route, method)] = need
    return found


@pytest.fixture
def app(tmp_path: Any) -> FastAPI:
    """The application, made and not started."""
    return create_app(Settings(_env_file=None, data_dir=tmp_path / "data", auth="on"))


def test_every_route_has_its_line_and_every_line_its_route(app: FastAPI) -> None:
    assert {name: line.need for name, line in LINES.items()} == _routes(app)


def test_a_route_that_does_not_say_who_may_use_it_keeps_the_application_from_being_made(app: FastAPI) -> None:
    @app.get("/forgotten")
    def forgotten() -> str:
        return CANARY

    with pytest.raises(RuntimeError, match="/forgotten does not say"):
        declared(app)
    # and where it was added later, nobody gets to it
    client = TestClient(app, headers={"Host": "localhost"})
    problem(client.get("/forgotten"), 401, "unauthenticated")


def test_every_verb_of_the_command_has_its_line() -> None:
    group: Any = typer.main.get_command(command)
    assert set(group.commands) == set(VERBS)


def _expected(line: Line, who: str) -> set[int] | None:
    """The statuses that somebody may get; None for any that is no error of access (401, 403, 404)."""
    order: tuple[str, ...] = ("reader", "editor", "admin", "operator")
    if line.need == "anyone":
        found = None
    elif who in {"nobody", "wrong_key"}:
        found = 401
    elif line.need == "operator":
        found = None if who == "operator" else 403
    elif who == "stranger":
        found = line.foreign
    elif who == "manager":
        found = line.manager or (403 if line.need == "admin" else None)
    else:
        needed = "admin" if line.need == "manager" else line.need
        found = None if order.index(who) >= order.index(needed) else 403
    return None if found is None else {found}


def _try(house: House, name: str, line: Line, who: str) -> httpx.Response:
    method, path = name.split()
    if line.place is not None:
        for part in line.place(house, who).split():
            path = re.sub(r"\{[\w:]+\}", part, path, count=1)
    if path == "/assets":
        path = "/assets/main.js"
    return house.clients[who].request(method, path, **line.send)


def _told(response: httpx.Response) -> str:
    return response.text + json.dumps(dict(response.headers))


@pytest.mark.timeout(900)  # hundreds of requests, on a machine that may be busy
def test_every_route_as_everybody(
    database_url: str,
    make_settings: Callable[..., Settings],
    loaders: Loaders,
    caplog: pytest.LogCaptureFixture,
) -> None:
    settings = make_settings(database_url=database_url, auth="on", ingest_workers=1)
    wrong: list[str] = []
    with house(settings, loaders, reads_on=False) as found, caplog.at_level(logging.DEBUG):
        for name, line in LINES.items():
            for who in EVERYBODY:
                caplog.clear()
                response = _try(found, name, line, who)
                expected = _expected(line, who)
                status = response.status_code
                tried = f"{name} as {who}: {status} {response.text[:200]}"
                denied = status in {401, 403, 404} and name != "POST /session"
                if status >= 500 or (denied if expected is None else status not in expected):
                    wrong.append(f"{tried}; expected {expected or 'to be let in'}")
                said = response.json() if status == 403 and response.content else {"code": "forbidden"}
                code = said.get("error", said)["code"]
                if code != "forbidden":
                    wrong.append(f"{tried}; expected the code forbidden")
                if status == 401 and not response.headers.get("www-authenticate", "").startswith("Bearer"):
                    wrong.append(f"{tried}; no WWW-Authenticate")
                if (who not in ACME and who != "operator") or denied:
                    asked = "" if line.place is None else str(response.request.url)
                    told = _told(response).replace(asked, "")
                    logged = "".join(_JsonFormatter().format(each) for each in caplog.records)
                    if CANARY in told or (who in {"nobody", "wrong_key", "stranger"} and CANARY in logged):
                        wrong.append(f"{tried}; the canary leaked")
                if any(
                    key in said_ for key in found.keys.values() for said_ in (_told(response), caplog.text)
                ):
                    wrong.append(f"{tried}; a key leaked")
    assert not wrong, "\n".join(wrong)
