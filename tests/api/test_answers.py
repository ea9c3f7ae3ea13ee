"""Answers that were given, over HTTP: shown again, replayed to the byte, withdrawn with their documents."""

from __future__ import annotations

from fastapi.testclient import TestClient

from tests.api.conftest import problem, ready

QUESTION = {"question": "How long is the notice period?"}


def test_a_replay_is_the_first_response_to_the_byte(client: TestClient) -> None:
    document = ready(client)
    for more in ({}, {"mode": "answer", "temperature": 0.9, "seed": 3, "max_tokens": 16, "receipts": True}):
        first = client.post("/query", json=QUESTION | more)
        replayed = client.post(f"/answers/{first.json()['answer_id']}/replay")
        assert replayed.status_code == 200
        assert replayed.content == first.content
    shown = client.get(f"/answers/{first.json()['answer_id']}").json()
    assert shown["question"] == QUESTION["question"]
    assert shown["answer"] == first.json()["answer"]
    assert shown["collection"] == "default"
    assert client.delete(f"/documents/{document['id']}").status_code == 204
    body = client.post(f"/answers/{first.json()['answer_id']}/replay").json()
    assert body["changed"][0] == {"what": "document_deleted", "document_id": document["id"]}
    assert body["before"]["withdrawn"]
    assert body["before"]["answer"] is None
    assert body["now"]["answer_status"] == "nothing_retrieved"
    assert "fourteen" not in str(body)


def test_an_answer_of_a_deleted_collection_has_nothing_left_to_ask(sqlite_client: TestClient) -> None:
    ready(sqlite_client, collection="leases")
    asked = QUESTION | {"collection": "leases"}
    first = sqlite_client.post("/query", json=asked).json()
    assert sqlite_client.delete("/collections/leases").status_code == 204
    body = sqlite_client.post(f"/answers/{first['answer_id']}/replay").json()
    assert (body["changed"], body["now"]) == ([{"what": "collection_deleted"}], None)
    assert body["before"]["collection"] is None


def test_there_is_no_such_answer(sqlite_client: TestClient) -> None:
    for name in ("ans_none", "x", "ans_01kv9m3e5c7x2n8q4t6w0z1y3b"):
        problem(sqlite_client.get(f"/answers/{name}"), 404, "answer_not_found")
        problem(sqlite_client.post(f"/answers/{name}/replay"), 404, "answer_not_found")
