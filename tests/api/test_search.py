"""Search over HTTP: places, rankings, and what can not be searched."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import event

from tests.api.conftest import problem, ready
from tests.page.pdf_pages import pdf_of


def test_a_search_shows_places_and_both_rankings(client: TestClient) -> None:
    lease = ready(client)
    results = client.post("/search", json={"query": "rent in guilders", "top_k": 2}).json()["results"]
    assert 1 <= len(results) <= 2
    best = results[0]
    assert best["document_id"] == lease["id"]
    text = client.get(f"/documents/{lease['id']}/text").text
    for result in results:
        assert text[result["start_char_index"] : result["end_char_index"]] == result["text"]
        assert result["page_number"] is None
        assert {"dense_rank", "dense_score", "lexical_rank", "lexical_score"} <= set(result)
    assert best["dense_rank"] == 1
    assert [r["score"] for r in results] == sorted((r["score"] for r in results), reverse=True)


def test_a_search_asks_the_database_as_often_for_many_documents_as_for_one(client: TestClient) -> None:
    asked: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if threading.current_thread().name.startswith("AnyIO"):  # others look for work
            asked.append(statement)

    event.listen(client.app.state.service.db.engine, "before_cursor_execute", note)  # type: ignore[attr-defined]
    often = []
    for number in range(3):
        ready(
            client, f"lease-{number}.txt", f"The rent of house {number} is paid in guilders. ".encode() * 40
        )
        client.post("/search", json={"query": "rent"}).raise_for_status()  # it follows what is new
        asked.clear()
        found = client.post("/search", json={"query": "rent in guilders"}).json()["results"]
        assert len({each["document_id"] for each in found}) == number + 1
        often.append(len(asked))
    assert often == [3, 3, 3]


def test_a_search_knows_pages(sqlite_client: TestClient) -> None:
    ready(
        sqlite_client, "two.pdf", pdf_of(["Apples are kept in the cellar. " * 30, "Pears are dried. " * 30])
    )
    found = sqlite_client.post("/search", json={"query": "dried pears"}).json()["results"][0]
    assert found["page_number"] <= 2 <= found["page_end"]


@pytest.mark.parametrize("name", ["", " ", "a/b", ".hidden", "x" * 101, "tab\there", "nul\0"])
def test_names_that_no_collection_can_have(sqlite_client: TestClient, name: str) -> None:
    problem(sqlite_client.post("/collections", json={"name": name}), 422, "invalid_request")


@pytest.mark.parametrize(
    "body",
    [{}, {"query": ""}, {"query": "a", "top_k": 101}, {"query": "a", "question": "b"}, {"query": 3}, []],
)
def test_searches_that_make_no_sense(sqlite_client: TestClient, body: Any) -> None:
    answer = problem(sqlite_client.post("/search", json=body), 422, "invalid_request")
    assert answer["errors"]
