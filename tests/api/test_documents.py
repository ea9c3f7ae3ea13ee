"""Documents over HTTP, on both databases: in, read, watched, listed, out."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from tests.api.conftest import LEASE, problem, ready, until, upload, wait_for


def data_files(client: TestClient) -> list[str]:
    """Names of stored originals and uploads in flight."""
    folder: Path = client.app.state.service.settings.data_dir  # type: ignore[attr-defined]
    return sorted(path.name for name in ("blobs", "tmp") for path in (folder / name).glob("[a-z]*"))


def test_a_document_from_upload_to_deletion(client: TestClient) -> None:
    entry = upload(client, metadata='{"title": "The mill", "year": 2021}')
    assert set(entry) == {"id", "filename", "status", "job_id"}
    document = wait_for(client, entry["id"])
    assert document["status"] == "ready", document
    assert document["error"] is None
    assert (document["title"], document["collection"]) == ("The mill", "default")
    assert document["media_type"] == "text/markdown"
    assert document["bytes"] == len(LEASE.encode())
    assert document["sha256"] == hashlib.sha256(LEASE.encode()).hexdigest()
    assert document["metadata"] == {"title": "The mill", "year": 2021}
    assert document["chunks_done"] == document["chunks_total"] > 0
    assert document["created_at"].endswith("Z")

    path = f"/documents/{document['id']}"
    text = client.get(f"{path}/text")
    assert text.headers["content-type"] == "text/plain; charset=utf-8"
    assert len(text.text) == document["characters"]
    assert client.get(f"{path}/text?start=5&end=40").text == text.text[5:40]
    assert client.get(f"{path}/text?start={len(text.text)}").text == ""
    chunks = client.get(f"{path}/chunks").json()["chunks"]
    assert "".join(chunk["text"] for chunk in chunks) == text.text
    assert all(text.text[c["start_char_index"] : c["end_char_index"]] == c["text"] for c in chunks)
    content = client.get(f"{path}/content")
    assert content.content == LEASE.encode()
    assert content.headers["content-disposition"].startswith("attachment")
    assert "sandbox" in content.headers["content-security-policy"]

    question = {"query": "Who keeps the right to fish?", "top_k": 3}
    found = client.post("/search", json=question).json()["results"]
    assert found[0]["document_id"] == document["id"]
    assert "fish" in found[0]["text"]

    assert client.delete(path).status_code == 204
    assert client.post("/search", json=question).json() == {"results": [], "partial": None}
    for gone in ("", "/text", "/chunks", "/content", "/events", "/pages/1"):
        problem(client.get(path + gone), 404, "document_not_found")
    problem(client.delete(path), 404, "document_not_found")
    assert data_files(client) == []


def test_the_same_bytes_again(client: TestClient) -> None:
    first = upload(client)
    again = client.post("/documents", files={"file": ("copy.md", LEASE)})
    assert problem(again, 409, "duplicate_document")["existing_document_id"] == first["id"]
    reused = client.post("/documents?on_duplicate=reuse", files={"file": ("copy.md", LEASE)})
    assert (reused.status_code, reused.json()["documents"][0]["id"]) == (200, first["id"])
    elsewhere = upload(client, collection="other")
    assert elsewhere["id"] != first["id"]


def test_several_files_are_taken_all_or_none(client: TestClient) -> None:
    held = upload(client)
    files = [("file", ("new.txt", b"Something new about harbours.")), ("file", ("copy.md", LEASE.encode()))]
    refused = problem(client.post("/documents", files=files), 409, "duplicate_document")
    assert refused["duplicates"] == [{"filename": "copy.md", "existing_document_id": held["id"]}]
    assert [d["id"] for d in client.get("/documents").json()["documents"]] == [held["id"]]
    taken = client.post("/documents?on_duplicate=reuse", files=files)
    assert taken.status_code == 202
    names = [entry["filename"] for entry in taken.json()["documents"]]
    assert names == ["new.txt", "lease.md"]


def test_listing_goes_page_by_page(client: TestClient) -> None:
    ids = [upload(client, f"{n}.txt", f"Text number {n}.", collection="many")["id"] for n in range(5)]
    seen: list[str] = []
    cursor = ""
    while True:
        page = client.get(f"/documents?collection=many&limit=2{cursor}").json()
        seen += [document["id"] for document in page["documents"]]
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
    assert seen == ids[::-1]
    assert client.get("/documents?collection=default").json()["documents"] == []
    for document_id in ids:
        wait_for(client, document_id)
    assert len(client.get("/documents?status=ready").json()["documents"]) == 5
    assert client.get("/documents?status=failed").json()["documents"] == []
    problem(client.get("/documents?collection=none"), 404, "collection_not_found")


def test_a_misspelt_parameter_is_refused(client: TestClient) -> None:
    answer = client.get("/documents?colection=plans&limit=2")
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
    assert [(each["field"], each["type"]) for each in answer.json()["errors"]] == [
        ("colection", "extra_forbidden")
    ]
    assert "did you mean 'collection'" in answer.json()["detail"]
    assert client.get("/documents?=0").status_code == 422
    assert client.post("/search?limit=1", json={"query": "rent"}).status_code == 422  # it belongs in the body
    assert client.get("/v1/models?api-version=1").status_code == 200


def test_an_unreadable_file_fails_with_its_code_and_can_be_retried(client: TestClient) -> None:
    document = wait_for(client, upload(client, "broken.pdf", b"%PDF-1.7\n garbage")["id"])
    assert (document["status"], document["error"]["code"]) == ("failed", "corrupt")
    problem(client.post(f"/documents/{document['id']}/cancel"), 409, "invalid_state")
    retried = client.post(f"/documents/{document['id']}/retry")
    assert (retried.status_code, retried.json()["status"]) == (202, "queued")
    assert wait_for(client, document["id"])["status"] == "failed"


def test_state_changes_that_make_no_sense_are_refused(client: TestClient) -> None:
    document = ready(client)
    for verb in ("cancel", "retry"):
        problem(client.post(f"/documents/{document['id']}/{verb}"), 409, "invalid_state")
        problem(client.post(f"/documents/{'doc_' + '0' * 26}/{verb}"), 404, "document_not_found")


def test_events_tell_each_change_until_the_end(client: TestClient) -> None:
    entry = upload(client)
    with client.stream("GET", f"/documents/{entry['id']}/events") as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        body = "".join(response.iter_text())
    events = [dict(line.split(": ", 1) for line in block.split("\n")) for block in body.strip().split("\n\n")]
    states = [json.loads(event["data"])["status"] for event in events if event.get("event") == "status"]
    assert states[-1] == "ready"
    assert json.loads(events[-1]["data"]) == client.get(f"/documents/{entry['id']}").json()


@pytest.mark.parametrize(
    ("form", "status", "code"),
    [
        ({"metadata": "[1]"}, 422, "invalid_metadata"),
        ({"metadata": "{"}, 422, "invalid_metadata"),
        ({"metadata": '{"a": "\\u0000"}'}, 422, "invalid_metadata"),
        ({"metadata": '{"a": "\\ud800"}'}, 422, "invalid_metadata"),
        ({"metadata": '{"a": NaN}'}, 422, "invalid_metadata"),
        ({"metadata": '{"a": ' + "[" * 5000 + "]" * 5000 + "}"}, 422, "invalid_metadata"),
        ({"metadata": '{"a": "' + "x" * 70_000 + '"}'}, 413, "too_large"),
        ({"collection": "a/b"}, 422, "invalid_collection_name"),
        ({"collection": "a\0b"}, 422, "invalid_collection_name"),
        ({"colour": "red"}, 422, "unknown_field"),
    ],
)
def test_a_bad_form_is_refused_and_leaves_nothing(
    client: TestClient, form: dict[str, str], status: int, code: str
) -> None:
    problem(client.post("/documents", files={"file": ("a.txt", b"text")}, data=form), status, code)
    assert client.get("/documents").json()["documents"] == []
    assert data_files(client) == []


def test_metadata_comes_back_as_it_was_sent(client: TestClient) -> None:
    metadata = {"größe": [1, 2.5, None, True], "深": {"a": {"b": "c"}}, "n": 2**62, "": ""}
    entry = upload(client, metadata=json.dumps(metadata))
    assert client.get(f"/documents/{entry['id']}").json()["metadata"] == metadata


def test_collections(client: TestClient) -> None:
    # bound to the embedder, the default one comes with it
    until(lambda: [c["name"] for c in client.get("/collections").json()["collections"]] == ["default"])
    made = client.post("/collections", json={"name": "Verträge 2024"})
    assert made.status_code == 201
    assert made.json()["documents"] == 0
    problem(client.post("/collections", json={"name": "Verträge 2024"}), 409, "duplicate_collection")
    document = ready(client, collection="Verträge 2024")
    shown = client.get("/collections/Vertr%C3%A4ge%202024").json()
    assert (shown["documents"], shown["documents_by_status"]) == (1, {"ready": 1})
    search = {"query": "rent", "collection": "Verträge 2024"}
    assert client.post("/search", json=search).json()["results"][0]["document_id"] == document["id"]
    assert client.delete("/collections/Vertr%C3%A4ge%202024").status_code == 204
    problem(client.get(f"/documents/{document['id']}"), 404, "document_not_found")
    problem(client.post("/search", json=search), 404, "collection_not_found")
    problem(client.get("/collections/none"), 404, "collection_not_found")
    problem(client.delete("/collections/default"), 409, "default_collection")
    assert data_files(client) == []


def test_a_collections_budget(client: TestClient) -> None:
    until(lambda: client.get("/collections/default").status_code == 200)
    assert client.get("/collections/default").json()["max_context_tokens"] is None
    changed = client.patch("/collections/default", json={"max_context_tokens": 300})
    assert (changed.status_code, changed.json()["max_context_tokens"]) == (200, 300)
    assert client.get("/collections").json()["collections"][0]["max_context_tokens"] == 300
    by_id = f"/collections/{changed.json()['id']}"
    assert client.patch(by_id, json={}).json()["max_context_tokens"] == 300
    ready(client)
    asked = {"question": "How long is the notice period?"}
    assert client.post("/query", json=asked).json()["context"]["budget"] <= 300
    wide = client.post("/query", json={**asked, "max_context_tokens": 1000}).json()
    assert 300 < wide["context"]["budget"] <= 1000
    assert client.patch(by_id, json={"max_context_tokens": None}).json()["max_context_tokens"] is None
    assert client.post("/query", json=asked).json()["context"]["budget"] > 300
    problem(client.patch("/collections/none", json={"max_context_tokens": 300}), 404, "collection_not_found")
    for wrong in ({"max_context_tokens": 5}, {"max_context_tokens": "300"}, {"budget": 300}):
        problem(client.patch("/collections/default", json=wrong), 422, "invalid_request")


def test_documents_select_their_own_collection(client: TestClient) -> None:
    here = ready(client, collection="here")
    there = ready(client, "there.txt", "The yearly rent of the tower is nine guilders.", collection="there")
    found = client.post("/search", json={"query": "rent", "document_ids": [there["id"]]}).json()["results"]
    assert {result["document_id"] for result in found} == {there["id"]}
    both = {"query": "rent", "document_ids": [here["id"], there["id"]]}
    problem(client.post("/search", json=both), 422, "several_collections")
    wrong = {"query": "rent", "document_ids": [here["id"]], "collection": "there"}
    problem(client.post("/search", json=wrong), 404, "document_not_found")
    unknown = {"query": "rent", "document_ids": ["doc_" + "0" * 26]}
    problem(client.post("/search", json=unknown), 404, "document_not_found")


def test_filters_choose_documents(client: TestClient) -> None:
    old = ready(client, "old.txt", "The rent was four guilders.", metadata='{"year": 1998}')
    new = ready(client, "new.txt", "The rent is forty guilders.", metadata='{"year": 2024}')
    for filters, expected in (
        ({"year": {"$gte": 2000}}, {new["id"]}),
        ({"$or": [{"year": 1998}, {"filename": "new.txt"}]}, {old["id"], new["id"]}),
        ({"year": 7}, set()),
    ):
        found = client.post("/search", json={"query": "rent", "filters": filters}).json()["results"]
        assert {result["document_id"] for result in found} == expected
