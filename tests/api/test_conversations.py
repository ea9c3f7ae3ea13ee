"""Conversations: kept, continued, shared, exported and deleted, on each kind of database."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable
from typing import Any

import pytest
from fastapi.testclient import TestClient

from api.app import create_app
from api.loaders import Loaders
from api.wiring import Service
from rag.settings import Settings
from rag.store.repositories import DEFAULT_SCOPE, Keys
from tests.api.conftest import LEASE, problem, ready
from tests.ingest.ingesting import where_found

FIRST = "How long is the notice period?"
SECOND = "And when did it begin?"


def ask(client: Any, conversation_id: str, question: str, **more: Any) -> dict[str, Any]:
    asked = {"question": question, "conversation_id": conversation_id, "mode": "quotes", **more}
    response = client.post("/query", json=asked)
    assert response.status_code == 200, response.text
    body: dict[str, Any] = response.json()
    return body


def begin(client: Any, collection: str = "default", **more: Any) -> str:
    response = client.post("/conversations", json={"collection": collection, **more})
    assert response.status_code == 201, response.text
    return str(response.json()["id"])


def test_a_conversation_is_kept_continued_renamed_and_listed(client: TestClient) -> None:
    ready(client)
    held = begin(client)
    (listed,) = client.get("/conversations").json()["conversations"]
    assert (listed["title"], listed["turns"], listed["own"], listed["shared"]) == ("", 0, True, False)
    first = ask(client, held, FIRST)
    assert first["answer_status"] == "answered"
    second = ask(client, held, SECOND)
    # the follow-up was made whole from what the conversation is about
    assert second["searches"][0]["why"] == "follow_up"
    assert SECOND in second["searches"][0]["query"] != SECOND
    alone = client.post("/query", json={"question": SECOND, "mode": "quotes"}).json()
    assert alone["searches"][0]["why"] == "question"

    shown = client.get(f"/conversations/{held}").json()
    assert [each["answer_id"] for each in shown["answers"]] == [first["answer_id"], second["answer_id"]]
    assert [each["question"] for each in shown["answers"]] == [FIRST, SECOND]
    assert [each["answer"] for each in shown["answers"]] == [first["answer"], second["answer"]]
    assert (shown["title"], shown["turns"]) == (FIRST, 2)
    renamed = client.patch(f"/conversations/{held}", json={"title": "The lease"}).json()
    assert (renamed["title"], renamed["turns"]) == ("The lease", 2)

    # as a stream too; and what a refused question was is kept with its refusal
    streamed = {"question": FIRST, "conversation_id": held, "mode": "quotes", "stream": True}
    assert "event: done" in client.post("/query", json=streamed).text
    assert client.get(f"/conversations/{held}").json()["turns"] == 3
    others = [begin(client, title=f"t{number}") for number in range(3)]
    page = client.get("/conversations?limit=2").json()
    rest = client.get(f"/conversations?limit=2&cursor={page['next_cursor']}").json()
    found = [each["id"] for each in page["conversations"] + rest["conversations"]]
    assert (found, rest["next_cursor"]) == ([*reversed(others), held], None)


def test_what_can_not_be_asked_is_refused(client: TestClient) -> None:
    ready(client)
    ready(client, "other.md", "Another text.", collection="other")
    held = begin(client)
    query = {"question": FIRST, "conversation_id": held}
    problem(client.post("/query", json=query | {"collection": "other"}), 422, "other_collection")
    both = query | {"history": [{"question": "a", "answer": "b"}]}
    assert client.post("/query", json=both).status_code == 422
    missing = query | {"conversation_id": "cnv_01kv9m3e5c7x2n8q4t6w0z1y3b"}
    problem(client.post("/query", json=missing), 404, "conversation_not_found")
    problem(client.post("/conversations", json={"collection": "none"}), 404, "collection_not_found")
    problem(client.get("/conversations/a%00b"), 404, "conversation_not_found")
    assert client.post("/conversations", json={"title": "\u0007"}).status_code == 422
    assert client.get(f"/conversations/{held}").json()["turns"] == 0


def test_it_is_exported_as_json_and_as_markdown_that_does_nothing(client: TestClient) -> None:
    bad = "The rent of the mill is 41,300 guilders <img src=x onerror=alert(1)> ![x](http://evil.example.org/x)."
    ready(client, "bad.md", bad.replace("<", "\\<").replace("!", "\\!"))
    held = begin(client, title="Rent *and* <b>more</b>")
    answer = ask(client, held, "What is the rent of the mill?")
    exported = client.get(f"/conversations/{held}/export")
    assert exported.headers["content-disposition"] == f'attachment; filename="{held}.json"'
    assert exported.json() == client.get(f"/conversations/{held}").json()
    markdown = client.get(f"/conversations/{held}/export?format=markdown")
    assert markdown.headers["content-type"].startswith("text/markdown")
    assert "What is the rent of the mill?" in markdown.text
    assert "41,300 guilders" in markdown.text
    assert answer["citations"]
    for active in ("<img", "<b>", "![", "](http", "http://"):
        assert active not in markdown.text


def test_a_shared_one_is_read_by_others_and_changed_by_its_owner_alone(
    database_url: str, make_settings: Callable[..., Settings], loaders: Loaders
) -> None:
    settings = make_settings(database_url=database_url, auth="on")
    service = Service(settings, loaders)
    with TestClient(create_app(settings, service), raise_server_exceptions=False) as client:

        def someone(role: Any, collections: list[str] | None = None) -> TestClient:
            with service.db.session() as session:
                made = Keys(session, DEFAULT_SCOPE).create(
                    "k", role, created_by="test", collections=collections
                )
            headers = {"Authorization": f"Bearer {made.text}"}
            return TestClient(client.app, raise_server_exceptions=False, headers=headers)

        owner, admin, reader = someone("editor"), someone("admin"), someone("reader")
        ready(owner)
        ready(owner, "other.md", "Another text.", collection="other")
        elsewhere = someone("admin", [owner.get("/collections/other").json()["id"]])
        held = begin(owner)
        ask(owner, held, FIRST)
        for other in (admin, reader, elsewhere):
            problem(other.get(f"/conversations/{held}"), 404, "conversation_not_found")
            problem(other.get(f"/conversations/{held}/export"), 404, "conversation_not_found")
            problem(other.delete(f"/conversations/{held}"), 404, "conversation_not_found")
            assert other.get("/conversations").json()["conversations"] == []
        assert owner.patch(f"/conversations/{held}", json={"shared": True}).json()["shared"] is True
        for other in (admin, reader):
            seen = other.get(f"/conversations/{held}").json()
            assert (seen["own"], seen["turns"], len(seen["answers"])) == (False, 1, 1)
            assert other.get("/conversations").json()["conversations"] == []
            problem(other.patch(f"/conversations/{held}", json={"title": "x"}), 403, "forbidden")
            problem(other.delete(f"/conversations/{held}"), 403, "forbidden")
            query = {"question": FIRST, "conversation_id": held, "mode": "quotes"}
            problem(other.post("/query", json=query), 403, "forbidden")
        problem(elsewhere.get(f"/conversations/{held}"), 404, "conversation_not_found")
        owner.patch(f"/conversations/{held}", json={"shared": False})
        problem(reader.get(f"/conversations/{held}"), 404, "conversation_not_found")


def test_nothing_is_left_of_what_was_deleted(
    database_url: str, make_settings: Callable[..., Settings], loaders: Loaders
) -> None:
    settings = make_settings(database_url=database_url)
    service = Service(settings, loaders)
    canary = f"canary{secrets.token_hex(6)}"
    with TestClient(create_app(settings, service)) as client:
        kept = f"\n## Wheel\n\nThe keeper of the water wheel is called {canary}.\n"
        document = ready(client, "lease.md", LEASE + kept)
        other = ready(client, "other.md", "# The tower\n\nThe tower of Lindau is 35 metres high.")
        held = begin(client)
        answer = ask(client, held, "How is the keeper of the water wheel called?")
        assert canary in answer["answer"]
        client.patch(f"/conversations/{held}", json={"shared": True})
        assert "answers.words" in set(where_found(service.db, settings.data_dir, canary))
        # the document goes: its words go from the conversation, in what others see and in exports too
        assert client.delete(f"/documents/{document['id']}").status_code == 204
        shown = client.get(f"/conversations/{held}").json()
        assert [(each["withdrawn"], each["answer"], each["citations"]) for each in shown["answers"]] == [
            (True, None, [])
        ]
        for kind in ("json", "markdown"):
            assert canary not in client.get(f"/conversations/{held}/export?format={kind}").text
        assert list(where_found(service.db, settings.data_dir, canary)) == []
        # and it can be continued: what was withdrawn is no longer leant on
        ask(client, held, f"How high is the tower, {canary}?", document_ids=[other["id"]])
        assert {"answers.question"} <= set(where_found(service.db, settings.data_dir, canary))
        # the conversation goes: its questions and answers go as well
        ids = [each["answer_id"] for each in client.get(f"/conversations/{held}").json()["answers"]]
        assert client.delete(f"/conversations/{held}").status_code == 204
        assert list(where_found(service.db, settings.data_dir, canary)) == []
        for each in ids:
            problem(client.get(f"/answers/{each}"), 404, "answer_not_found")
        problem(client.get(f"/conversations/{held}"), 404, "conversation_not_found")
        # with a collection its conversations go
        ready(client, "third.md", "A third text.", collection="short")
        gone = begin(client, "short", title=canary)
        assert client.delete("/collections/short").status_code == 204
        problem(client.get(f"/conversations/{gone}"), 404, "conversation_not_found")
        assert list(where_found(service.db, settings.data_dir, canary)) == []


def test_an_answer_of_a_conversation_that_is_gone_meanwhile_is_not_kept(
    sqlite_client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    ready(sqlite_client)
    held = begin(sqlite_client)
    given: list[str] = []

    def lately(service: Service, conversation_id: str, answer_id: str, question: str) -> None:
        given.append(answer_id)
        assert sqlite_client.delete(f"/conversations/{held}").status_code == 204
        append(service, conversation_id, answer_id, question)

    from api.conversing import append  # noqa: PLC0415

    monkeypatch.setattr("api.answers.append", lately)
    query = {"question": FIRST, "conversation_id": held, "mode": "quotes"}
    problem(sqlite_client.post("/query", json=query), 404, "conversation_not_found")
    problem(sqlite_client.get(f"/answers/{given[0]}"), 404, "answer_not_found")


def test_a_follow_up_does_not_read_the_documents_again(
    sqlite_client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    # the bundled model reads what large ones do: everything
    monkeypatch.setattr("rag.writer.WRITES", 1)
    monkeypatch.setattr("rag.writer.READS_ALL", 1)
    # read by nobody before, and always as long: what is read is kept in chunks of 256 tokens
    articles = [f"Article {number} stands on sheet {secrets.randbelow(10**6):06}." for number in range(24)]
    ready(sqlite_client, "lease.md", f"{LEASE}\n## Articles\n\n{' '.join(articles)}\n")
    held = begin(sqlite_client)
    few = {"mode": "answer", "max_tokens": 8}
    first = ask(sqlite_client, held, FIRST, **few)
    second = ask(sqlite_client, held, "And how much is its yearly rent?", **few)
    assert {first["answer_status"], second["answer_status"]} == {"answered"}
    documents = first["context"]["tokens"]
    assert second["context"]["tokens"] == documents > 400
    assert second["searches"][0]["why"] == "follow_up"
    cached = [each["usage"]["cached_tokens"] for each in (first, second)]
    assert cached[0] < documents / 2
    assert cached[1] >= documents - 32, json.dumps(cached)
