"""Search and collections over HTTP, on both databases."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi.testclient import TestClient

from tests.api.conftest import problem, ready, until
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


def test_a_search_knows_pages(sqlite_client: TestClient) -> None:
    ready(
        sqlite_client, "two.pdf", pdf_of(["Apples are kept in the cellar. " * 30, "Pears are dried. " * 30])
    )
    found = sqlite_client.post("/search", json={"query": "dried pears"}).json()["results"][0]
    assert found["page_number"] <= 2 <= found["page_end"]


def test_collections_are_made_listed_and_deleted_with_their_documents(client: TestClient) -> None:
    names = lambda: [each["name"] for each in client.get("/collections").json()["collections"]]  # noqa: E731
    until(lambda: names() == ["default"])  # bound to the embedder, it comes with it
    made = client.post("/collections", json={"name": "Verträge 2024"})
    assert made.status_code == 201
    problem(client.post("/collections", json={"name": "Verträge 2024"}), 409, "duplicate_collection")
    document = ready(client, collection="Verträge 2024")
    shown = client.get("/collections/Verträge 2024").json()
    assert (shown["documents"], shown["documents_by_status"]) == (1, {"ready": 1})
    assert names() == ["Verträge 2024", "default"]
    assert client.delete("/collections/Verträge 2024").status_code == 204
    problem(client.get("/collections/Verträge 2024"), 404, "collection_not_found")
    problem(client.get(f"/documents/{document['id']}"), 404, "document_not_found")
    problem(
        client.post("/search", json={"query": "rent", "collection": "Verträge 2024"}),
        404,
        "collection_not_found",
    )
    problem(client.delete("/collections/default"), 409, "default_collection")
    assert names() == ["default"]


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
