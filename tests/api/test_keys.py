"""Keys, people and sign-in over HTTP and by command, and the doors that stay shut."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import typer
from fastapi.testclient import TestClient

from api.app import create_app
from api.commands.serve import run as serve
from api.loaders import Loaders
from api.wiring import Service
from model import Engine
from rag.settings import Settings
from rag.store.people import ApiKey, KeySecret
from rag.store.repositories import DEFAULT_SCOPE, Keys
from rag.store.scope import utc_now
from tests.api.access_house import House, house
from tests.api.conftest import LEASE, in_process, problem, ready, until

PAGE = {"Sec-Fetch-Site": "same-origin"}


@pytest.fixture
def found(database_url: str, make_settings: Callable[..., Settings], loaders: Loaders) -> Iterator[House]:
    """A service that asks for keys, with two workspaces."""
    with house(make_settings(database_url=database_url, auth="on"), loaders) as made:
        yield made


def _with(found: House, key: str) -> TestClient:
    return TestClient(found.app, raise_server_exceptions=False, headers={"Authorization": f"Bearer {key}"})


def test_a_key_is_made_used_rotated_and_revoked(found: House) -> None:
    admin = found.clients["admin"]
    made = admin.post("/keys", json={"name": "bot", "role": "editor", "expires_in_days": 30}).json()
    assert made["key"].startswith(made["prefixes"][0])
    bot = _with(found, made["key"])
    assert bot.get("/me").json() == {
        "kind": "key",
        "id": made["id"],
        "name": "bot",
        "workspace": {**bot.get("/me").json()["workspace"], "name": "acme"},
        "role": "editor",
        "collections": {},
        "operator": False,
    }
    listed = next(key for key in admin.get("/keys").json()["keys"] if key["id"] == made["id"])
    assert "key" not in listed
    until(lambda: admin.get("/keys").json()["keys"][0]["last_used_at"] is not None)
    rotated = admin.post(f"/keys/{made['id']}/rotate", json={"grace_hours": 1}).json()
    assert {bot.get("/me").status_code, _with(found, rotated["key"]).get("/me").status_code} == {200}
    admin.post(f"/keys/{made['id']}/rotate", json={"grace_hours": 0})
    problem(bot.get("/me"), 401, "invalid_key")
    assert admin.delete(f"/keys/{made['id']}").status_code == 204
    problem(admin.post(f"/keys/{made['id']}/rotate", json={}), 409, "key_not_valid")


def test_who_is_let_in_says_so_in_one_way_and_who_is_not_is_told_how(found: House) -> None:
    nobody, key = found.clients["nobody"], found.keys["reader"]
    assert nobody.get("/me", headers={"Authorization": f"bearer {key}"}).status_code == 200
    for wrong in (f"Basic {key}", key, "Bearer", "Bearer ", f"Bearer x{key}", f"Bearer {key} {key}"):
        refused = nobody.get("/me", headers={"Authorization": wrong})
        assert refused.status_code == 401, wrong
    assert nobody.get("/me").headers["www-authenticate"] == 'Bearer realm="Longleaf"'
    shown = found.clients["wrong_key"].get("/me").headers["www-authenticate"]
    assert shown == 'Bearer realm="Longleaf", error="invalid_token"'
    # before anything is read, and before it is known whether there is such a thing
    problem(nobody.post("/query", content="{"), 401, "unauthenticated")
    problem(nobody.get("/nothing"), 401, "unauthenticated")
    problem(nobody.post("/documents", content=b"x" * 3_000_000), 401, "unauthenticated")


def test_the_admin_of_a_workspace_does_not_become_operator(found: House) -> None:
    admin, operator = found.clients["admin"], found.clients["operator"]
    problem(admin.post("/keys", json={"name": "k", "operator": True}), 403, "forbidden")
    held = next(key for key in operator.get("/keys").json()["keys"] if key["operator"])
    assert held["id"] not in admin.get("/keys").text
    problem(admin.delete(f"/keys/{held['id']}"), 404, "key_not_found")
    problem(admin.post(f"/keys/{held['id']}/rotate", json={}), 404, "key_not_found")
    for name in ("other", found.workspaces["other"], "nowhere"):
        problem(admin.get("/keys", params={"workspace": name}), 404, "workspace_not_found")
        problem(
            admin.post("/keys", params={"workspace": name}, json={"name": "k"}), 404, "workspace_not_found"
        )
        problem(admin.get("/members", params={"workspace": name}), 404, "workspace_not_found")


def test_an_operator_sets_a_workspace_up(found: House) -> None:
    operator = found.clients["operator"]
    made = operator.post("/workspaces", json={"name": "third"}).json()
    key = operator.post(
        "/keys", params={"workspace": "third"}, json={"name": "first", "role": "admin"}
    ).json()
    third = _with(found, key["key"])
    assert third.get("/me").json()["workspace"]["id"] == made["id"]
    assert third.get("/documents").json()["documents"] == []
    assert third.post("/search", json={"query": "rent"}).json() == {"results": [], "partial": None}


def test_members_have_roles_by_collection_and_lose_them(found: House) -> None:
    admin = found.clients["admin"]
    email = "ada@example.org"
    member = admin.put("/members", json={"email": email, "collections": {"mill": "reader"}}).json()
    user = member["user"]["id"]
    made = admin.post("/keys", json={"name": "ada", "role": "admin", "user_id": user}).json()
    ada, document = _with(found, made["key"]), found.document["id"]
    hidden = ready(admin, "b.txt", "Another text.", collection="closed")["id"]
    assert ada.get(f"/documents/{document}").status_code == 200
    problem(ada.delete(f"/documents/{document}"), 403, "forbidden")
    problem(ada.get(f"/documents/{hidden}"), 404, "document_not_found")
    problem(ada.post("/search", json={"query": "a", "collection": "closed"}), 404, "collection_not_found")
    problem(ada.post("/search", json={"query": "a", "document_ids": [hidden]}), 404, "document_not_found")
    assert [each["name"] for each in ada.get("/collections").json()["collections"]] == ["mill"]
    assert ada.get(f"/answers/{found.answer_id}").status_code == 200
    admin.put("/members", json={"email": email, "collections": {"closed": "editor"}})
    problem(ada.get(f"/documents/{document}"), 404, "document_not_found")
    problem(ada.get(f"/answers/{found.answer_id}"), 404, "answer_not_found")
    assert ada.patch(f"/documents/{hidden}", json={"metadata": {"seen": True}}).status_code == 200
    problem(ada.post("/collections", json={"name": "mine"}), 403, "forbidden")
    assert admin.delete(f"/members/{user}").status_code == 204
    problem(ada.get("/me"), 401, "invalid_key")


def test_a_browser_signs_in_with_a_key_and_out_again(found: House) -> None:
    browser = TestClient(found.app, raise_server_exceptions=False)
    problem(browser.post("/session", json={"key": "llf_wrong"}, headers=PAGE), 401, "invalid_key")
    signed = browser.post("/session", json={"key": found.keys["editor"]}, headers=PAGE)
    cookie = signed.headers["set-cookie"]
    assert signed.status_code == 204
    assert "HttpOnly" in cookie
    assert re.search("samesite=strict", cookie, re.IGNORECASE)
    assert found.keys["editor"] not in cookie
    assert browser.get("/me").json()["name"] == "editor"
    made = browser.post("/collections", json={"name": "by page"}, headers=PAGE)
    assert made.status_code == 201
    for headers in (
        {},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "none"},
        {"Origin": "http://evil.example"},
    ):
        problem(browser.post("/collections", json={"name": "forged"}, headers=headers), 403, "cross_origin")
    assert browser.delete("/session", headers=PAGE).status_code == 204
    browser.cookies.set("longleaf_session", cookie.split("=", 1)[1].split(";")[0])
    problem(browser.get("/me"), 401, "signed_out")


def test_a_cookie_over_https_is_never_sent_without_it(found: House) -> None:
    browser = TestClient(found.app, base_url="https://testserver")
    signed = browser.post("/session", json={"key": found.keys["editor"]}, headers=PAGE)
    assert "Secure" in signed.headers["set-cookie"]


def test_a_browser_goes_with_its_key(found: House) -> None:
    admin = found.clients["admin"]
    made = admin.post("/keys", json={"name": "page"}).json()
    browser = TestClient(found.app, raise_server_exceptions=False)
    browser.post("/session", json={"key": made["key"]}, headers=PAGE)
    assert browser.get("/me").status_code == 200
    admin.delete(f"/keys/{made['id']}")
    problem(browser.get("/me"), 401, "signed_out")


def test_what_one_workspace_has_read_makes_another_no_faster(
    found: House, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rag.writer.READS_ALL", 0)  # a small model reads too little to fill a block
    engine.forget()
    clauses = "".join(f"\n\n## Clause {n}\n\nIn year {n} the rent is {n * 731} guilders." for n in range(30))
    asked = {
        "question": "How long is the notice period?",
        "collection": "same",
        "mode": "prose",
        "max_tokens": 4,
    }
    cached = []
    for who in ("admin", "admin", "stranger"):
        client = found.clients[who]
        if not client.get("/documents", params={"collection": "same"}).is_success:
            ready(client, "lease.md", LEASE + clauses, collection="same")
        cached.append(client.post("/query", json=asked).json()["usage"]["cached_tokens"])
    assert cached[1] > cached[0] == cached[2] == 0


def test_readiness_does_not_tell_strangers_why(
    make_settings: Callable[..., Settings], loaders: Loaders
) -> None:
    settings = make_settings(model="/nowhere/model.gguf", auth="on")
    service = Service(settings, Loaders(embedder=loaders.embedder))
    with TestClient(create_app(settings, service)) as nobody:
        until(lambda: nobody.get("/readyz").json()["checks"]["engine"] == "not ready")
        with service.db.session() as session:
            key = Keys(session, DEFAULT_SCOPE).create("k", "reader", created_by="test").text
        told = nobody.get("/readyz", headers={"Authorization": f"Bearer {key}"}).json()["checks"]["engine"]
        assert "/nowhere/model.gguf" in told
        assert "/nowhere" not in nobody.get("/readyz").text


def test_the_first_key_is_made_once_for_its_keeper_alone(
    database_url: str, make_settings: Callable[..., Settings], loaders: Loaders
) -> None:
    settings = make_settings(database_url=database_url, auth="on")
    file = settings.data_dir / "first-admin-key"
    for attempt in range(2):
        service = Service(settings, loaders)
        with TestClient(create_app(settings, service)) as client:
            if attempt == 0:
                key = file.read_text().strip()
                assert stat.S_IMODE(file.stat().st_mode) == 0o600
                file.unlink()
            me = client.get("/me", headers={"Authorization": f"Bearer {key}"}).json()
            assert (me["role"], me["operator"]) == ("admin", True)
            assert not file.exists()
            if attempt == 1:  # where all are lost there is another one at the next start
                with service.db.session() as session:
                    session.query(KeySecret).delete()
                    session.query(ApiKey).update({"expires_at": utc_now() - timedelta(days=1)})
    with TestClient(create_app(settings, Service(settings, loaders))):
        assert file.read_text().strip() != key


def test_without_keys_there_is_no_first_one_and_nobody_is_asked(sqlite_client: TestClient) -> None:
    me = sqlite_client.get("/me", headers={"Authorization": "Bearer sk-whatever"}).json()
    assert (me["kind"], me["role"], me["operator"], me["workspace"]["name"]) == (
        "local",
        "admin",
        True,
        "default",
    )
    service: Any = sqlite_client.app
    folder = service.state.service.settings.data_dir
    assert not (folder / "first-admin-key").exists()


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "example.org"])
def test_a_server_that_others_reach_and_that_asks_nobody_is_refused(
    host: str, make_settings: Callable[..., Settings], capsys: pytest.CaptureFixture[str]
) -> None:
    settings = make_settings(host=host)
    with pytest.raises(typer.Exit) as refused:
        serve(settings)
    assert refused.value.exit_code == 2
    said = capsys.readouterr().err
    assert "LONGLEAF_AUTH=on" in said
    assert "LONGLEAF_AUTH=open" in said
    assert not settings.data_dir.exists()


def test_keys_users_and_workspaces_by_command(
    database_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name in [name for name in os.environ if name.startswith("LONGLEAF_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("LONGLEAF_DATABASE_URL", database_url)
    monkeypatch.setenv("LONGLEAF_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    longleaf = in_process(capsys)
    assert longleaf("workspaces", "create", "acme").returncode == 0
    assert longleaf("workspaces", "create", "acme").returncode == 1
    made = longleaf("keys", "create", "bot", "--role", "editor", "-w", "acme", "--expires", "7")
    assert re.fullmatch(r"llf_[0-9a-hjkmnp-tv-z]{60}\n", made.stdout)
    key = re.search(r"key_\w+", made.stderr)
    assert key
    listed = longleaf("keys", "list", "-w", "acme").stdout
    assert key[0] in listed
    assert made.stdout.strip() not in listed
    assert longleaf("keys", "list").stdout == "There are no keys.\n"
    assert longleaf("keys", "rotate", key[0]).returncode == 1  # of another workspace
    assert longleaf("keys", "rotate", key[0], "-w", "acme", "--grace", "0").stdout != made.stdout
    assert longleaf("keys", "revoke", key[0], "-w", "acme").returncode == 0
    assert "revoked" in longleaf("keys", "list", "-w", "acme").stdout
    assert longleaf("users", "grant", "ada@example.org", "editor", "-w", "acme").returncode == 0
    assert longleaf("keys", "create", "ada", "--user", "ada@example.org", "-w", "acme").returncode == 0
    assert longleaf("keys", "create", "ada", "--user", "ada@example.org").returncode == 1  # no member there
    assert "ada@example.org" in longleaf("users", "list").stdout
    assert longleaf("users", "disable", "ada@example.org").returncode == 0
    assert "kept out" in longleaf("users", "list").stdout
    assert longleaf("users", "remove", "ada@example.org", "-w", "acme").returncode == 0
    assert longleaf("users", "create", "nobody").returncode == 1


def test_a_reader_adds_nothing_by_mcp(found: House) -> None:
    call = {
        "name": "add_document",
        "arguments": {"filename": "a.txt", "content": "A text.", "collection": "mill"},
    }
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": call}
    headers = {"Accept": "application/json, text/event-stream", "MCP-Protocol-Version": "2025-06-18"}
    told = {
        who: found.clients[who].post("/mcp", json=message, headers=headers).text
        for who in ("reader", "editor")
    }
    assert "needs the role of an editor" in told["reader"]
    assert "doc_" in told["editor"]
