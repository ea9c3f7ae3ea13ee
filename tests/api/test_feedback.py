"""Feedback: said, changed, taken back, read by those who keep the collection, on each kind of database."""

from __future__ import annotations

import functools
import json
import secrets
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from api.app import create_app
from api.loaders import Loaders
from api.wiring import Service
from rag.evaluation.questions import load_questions
from rag.settings import Settings
from rag.store.repositories import DEFAULT_SCOPE, Feedback, Keys
from tests.api.conftest import LEASE, in_process, problem, ready
from tests.ingest.ingesting import where_found

QUESTION = "How long is the notice period?"


def asked(client: Any, collection: str = "default", **more: Any) -> dict[str, Any]:
    body = {"question": QUESTION, "collection": collection, "mode": "quotes", **more}
    response = client.post("/query", json=body)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    assert answer["citations"]
    return answer


def said(client: Any, **query: Any) -> list[dict[str, Any]]:
    response = client.get("/feedback", params=query)
    assert response.status_code == 200, response.text
    rows: list[dict[str, Any]] = response.json()["feedback"]
    return rows


def test_it_is_said_changed_and_taken_back(client: TestClient) -> None:
    ready(client)
    answer = asked(client)
    path = f"/answers/{answer['answer_id']}"
    assert client.get(path).json()["feedback"] is None
    problem(client.delete(f"{path}/feedback"), 404, "feedback_not_found")
    first = client.post(f"{path}/feedback", json={"correct": True})
    assert first.status_code == 200, first.text
    assert first.json()["comment"] is None
    words = {"correct": False, "comment": "It is twelve by now. 🌲", "wrong_citations": [1, 1]}
    second = client.post(f"{path}/feedback", json=words).json()
    assert second["id"] == first.json()["id"]
    assert (second["correct"], second["comment"], second["wrong_citations"]) == (False, words["comment"], [1])
    assert (second["question"], second["collection"], second["by"]) == (QUESTION, "default", "local")
    assert second["created_at"] == first.json()["created_at"] <= second["updated_at"]
    kept = client.get(path).json()["feedback"]
    assert kept == {name: second[name] for name in kept}
    assert said(client) == [second]
    # it says nothing about what an answer would be now
    assert client.post(f"{path}/replay").json()["answer"] == answer["answer"]
    assert client.delete(f"{path}/feedback").status_code == 204
    assert client.get(path).json()["feedback"] is None
    assert said(client) == []


def test_what_can_not_be_said_is_refused(client: TestClient) -> None:
    ready(client)
    ready(client, "gone.md", collection="gone")
    answer, gone = asked(client), asked(client, "gone")
    path = f"/answers/{answer['answer_id']}/feedback"
    beyond = len(answer["citations"]) + 1
    problem(client.post(path, json={"correct": False, "wrong_citations": [beyond]}), 422, "unknown_citation")
    for bad in ({}, {"correct": 1}, {"correct": True, "comment": " "}, {"correct": True, "comment": "a\0b"},
                {"correct": True, "wrong_citations": [0]}, {"correct": True, "stars": 5}):  # fmt: skip
        problem(client.post(path, json=bad), 422, "invalid_request")
    for name in ("ans_none", "x", "ans_01kv9m3e5c7x2n8q4t6w0z1y3b"):
        problem(client.post(f"/answers/{name}/feedback", json={"correct": True}), 404, "answer_not_found")
        problem(client.delete(f"/answers/{name}/feedback"), 404, "answer_not_found")
    problem(client.get("/feedback?collection=none"), 404, "collection_not_found")
    client.post(f"/answers/{gone['answer_id']}/feedback", json={"correct": True})
    assert client.delete("/collections/gone").status_code == 204
    late = client.post(f"/answers/{gone['answer_id']}/feedback", json={"correct": True})
    problem(late, 404, "collection_not_found")
    assert said(client) == []


def test_it_is_listed_by_collection_and_verdict_in_pages(client: TestClient) -> None:
    ready(client)
    ready(client, "other.md", collection="other")
    answers = [asked(client), asked(client), asked(client, "other")]
    for number, answer in enumerate(answers):
        body = {"correct": number != 1}
        client.post(f"/answers/{answer['answer_id']}/feedback", json=body).raise_for_status()
    newest_first = [each["answer_id"] for each in reversed(answers)]
    assert [each["answer_id"] for each in said(client)] == newest_first
    assert [each["answer_id"] for each in said(client, collection="other")] == newest_first[:1]
    assert [each["answer_id"] for each in said(client, correct=False)] == newest_first[1:2]
    page = client.get("/feedback?limit=2").json()
    rest = client.get(f"/feedback?limit=2&cursor={page['next_cursor']}").json()
    found = [each["answer_id"] for each in page["feedback"] + rest["feedback"]]
    assert (found, rest["next_cursor"]) == (newest_first, None)


def test_each_has_their_own_and_who_keeps_the_collection_reads_all(
    database_url: str, make_settings: Callable[..., Settings], loaders: Loaders
) -> None:
    settings = make_settings(database_url=database_url, auth="on")
    service = Service(settings, loaders)
    with TestClient(create_app(settings, service), raise_server_exceptions=False) as client:

        def someone(role: Any, collections: list[str] | None = None) -> tuple[TestClient, str]:
            with service.db.session() as session:
                made = Keys(session, DEFAULT_SCOPE).create(
                    "k", role, created_by="test", collections=collections
                )
            headers = {"Authorization": f"Bearer {made.text}"}
            return TestClient(client.app, raise_server_exceptions=False, headers=headers), made.row.id

        editor, editors_id = someone("editor")
        reader, readers_id = someone("reader")
        ready(editor)
        ready(editor, "other.md", collection="other")
        mine = editor.get("/collections/default").json()["id"]
        keeper, _ = someone("editor", [mine])
        elsewhere, _ = someone("admin", [editor.get("/collections/other").json()["id"]])
        answer, other = asked(editor), asked(editor, "other")
        path = f"/answers/{answer['answer_id']}"
        reader.post(f"{path}/feedback", json={"correct": False, "comment": "readers' words"})
        editor.post(f"{path}/feedback", json={"correct": True})
        editor.post(f"/answers/{other['answer_id']}/feedback", json={"correct": True})

        assert reader.get(path).json()["feedback"]["comment"] == "readers' words"
        assert editor.get(path).json()["feedback"]["comment"] is None
        assert keeper.get(path).json()["feedback"] is None
        problem(reader.get("/feedback"), 403, "forbidden")
        problem(elsewhere.post(f"{path}/feedback", json={"correct": True}), 404, "answer_not_found")
        of_both = {(each["answer_id"], each["by"]) for each in said(editor)}
        assert of_both == {
            (answer["answer_id"], readers_id),
            (answer["answer_id"], editors_id),
            (other["answer_id"], editors_id),
        }
        assert {each["answer_id"] for each in said(keeper)} == {answer["answer_id"]}
        assert {each["answer_id"] for each in said(elsewhere)} == {other["answer_id"]}
        problem(keeper.get("/feedback?collection=other"), 404, "collection_not_found")
        # taking back one's own leaves the other's
        assert reader.delete(f"{path}/feedback").status_code == 204
        assert [each["by"] for each in said(keeper)] == [editors_id]
        # who said it and of which answer is in the audit log, and what was said is not
        log = someone("admin")[0].get("/audit?limit=1000")
        entries = [each for each in log.json()["entries"] if "feedback" in each["action"]]
        made = next(each for each in entries if each["actor"] == readers_id)
        assert (made["action"], made["status"]) == ("POST /answers/{id}/feedback", 200)
        assert answer["answer_id"] in made["target"]
        assert "readers' words" not in log.text


def test_a_document_takes_the_answers_words_and_leaves_what_was_said_of_it(
    database_url: str, make_settings: Callable[..., Settings], loaders: Loaders
) -> None:
    settings = make_settings(database_url=database_url)
    service = Service(settings, loaders)
    canary = f"canary{secrets.token_hex(6)}"
    with TestClient(create_app(settings, service)) as client:
        document = ready(client)
        held = client.post("/conversations", json={"collection": "default"}).json()["id"]
        answer = client.post(
            "/query", json={"question": QUESTION, "conversation_id": held, "mode": "quotes"}
        ).json()
        path = f"/answers/{answer['answer_id']}"
        words = {"correct": False, "comment": f"no, {canary}", "wrong_citations": [1]}
        client.post(f"{path}/feedback", json=words).raise_for_status()
        assert client.delete(f"/documents/{document['id']}").status_code == 204
        kept = client.get(path).json()
        assert (kept["withdrawn"], kept["answer"], kept["citations"]) == (True, None, [])
        assert (kept["feedback"]["comment"], kept["feedback"]["wrong_citations"]) == (f"no, {canary}", [1])
        (shown,) = client.get(f"/conversations/{held}").json()["answers"]
        assert shown["feedback"] == kept["feedback"]
        # it goes with the answer, and then nothing is left of it
        assert list(where_found(service.db, settings.data_dir, canary))
        assert client.delete(f"/conversations/{held}").status_code == 204
        assert list(where_found(service.db, settings.data_dir, canary)) == []
        assert said(client) == []


def test_what_was_right_becomes_questions_of_an_evaluation(  # noqa: PLR0917 (fixtures)
    database_url: str,
    make_settings: Callable[..., Settings],
    loaders: Loaders,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    settings = make_settings(database_url=database_url)
    out = tmp_path / "asked.jsonl"
    with TestClient(create_app(settings, Service(settings, loaders))) as client:
        document = ready(client)

        def judged(answer: dict[str, Any], **verdict: Any) -> str:
            path = f"/answers/{answer['answer_id']}/feedback"
            client.post(path, json={"correct": True, **verdict}).raise_for_status()
            return str(answer["answer_id"])

        def ask(question: str, **more: Any) -> dict[str, Any]:
            body = {"question": question, "mode": "quotes", **more}
            answer: dict[str, Any] = client.post("/query", json=body).json()
            return answer

        gone = ready(client, "gone.md", LEASE.replace("fourteen", "nine"))
        judged(asked(client, document_ids=[gone["id"]]))
        assert client.delete(f"/documents/{gone['id']}").status_code == 204
        right = asked(client)
        judged(right)
        judged(asked(client), correct=False)
        every = [each["id"] for each in right["citations"]]
        judged(asked(client), wrong_citations=every)
        refused = ask("What is the capital of the republic of Vanuatu?")
        assert refused["answer_status"] != "answered"
        judged(refused)
        follow = ask("And when did it begin?", history=[{"question": QUESTION, "answer": "Fourteen months."}])
        assert follow["searches"][0]["why"] == "follow_up"
        judged(follow)

        monkeypatch.setenv("LONGLEAF_DATA_DIR", str(settings.data_dir))
        monkeypatch.setenv("LONGLEAF_DATABASE_URL", database_url)
        longleaf = in_process(capsys)
        made = longleaf("eval", "feedback", out)
        assert made.returncode == 0, made.stderr
        assert "2 questions added" in made.stdout
        for why in ("1 left out: had no quote", "1 left out: leaned on", "1 left out: lost a document"):
            assert why in made.stdout
        assert "0 questions added" in longleaf("eval", "feedback", out).stdout
        assert longleaf("eval", "feedback", out, "--collection", "none").returncode == 1
    found = {each.id: each for each in load_questions(out).questions}
    assert set(found) == {right["answer_id"], refused["answer_id"]}
    taken = found[right["answer_id"]]
    assert (taken.question, taken.answerable, taken.accepted) == (QUESTION, True, True)
    for evidence, quote in zip(taken.evidence, right["citations"], strict=True):
        assert evidence.doc == document["id"]
        assert LEASE[evidence.start : evidence.end] == evidence.text == quote["cited_text"]
    assert not found[refused["answer_id"]].answerable
    # and they can be asked
    monkeypatch.setattr("api.commands.session.Service", functools.partial(Service, loaders=loaders))
    ran = longleaf("eval", "run", out, "--collection", "default", "--mode", "quotes", "--json")
    assert ran.returncode == 0, ran.stderr
    outcomes = {each["id"]: each for each in json.loads(ran.stdout)["questions"]}
    assert set(outcomes) == set(found)
    assert not outcomes[right["answer_id"]].get("missing")


@pytest.mark.parametrize("end", ["take back", "delete the collection"])
def test_nothing_is_left_of_what_was_taken_back(
    end: str, database_url: str, make_settings: Callable[..., Settings], loaders: Loaders
) -> None:
    settings = make_settings(database_url=database_url)
    service = Service(settings, loaders)
    canary = f"canary{secrets.token_hex(6)}"
    with TestClient(create_app(settings, service)) as client:
        ready(client, collection="short")
        path = f"/answers/{asked(client, 'short')['answer_id']}/feedback"
        client.post(path, json={"correct": True, "comment": canary}).raise_for_status()
        assert "feedback.comment" in set(where_found(service.db, settings.data_dir, canary))
        gone = client.delete(path if end == "take back" else "/collections/short")
        assert gone.status_code == 204
        assert list(where_found(service.db, settings.data_dir, canary)) == []


def test_what_is_said_twice_at_the_same_moment_is_said_once(client: TestClient) -> None:
    ready(client)
    answer = asked(client)
    service: Service = client.app.state.service  # type: ignore[attr-defined]
    barrier = threading.Barrier(4)
    faults: list[BaseException] = []

    def say(number: int) -> None:
        try:
            barrier.wait()
            with service.db.session() as session:
                Feedback(session, DEFAULT_SCOPE, "local").give(
                    answer["answer_id"], correct=True, comment=str(number)
                )
        except BaseException as error:
            faults.append(error)

    threads = [threading.Thread(target=say, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
    assert len(said(client)) == 1
