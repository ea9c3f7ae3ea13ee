"""Documents that change, over HTTP, on both databases: new files, metadata, versions, limits."""

from __future__ import annotations

import json
from typing import Any

import pytest
from fastapi.testclient import TestClient

from tests.api.conftest import LEASE, problem, ready, until, upload, wait_for
from tests.api.test_documents import data_files

RAISED = LEASE.replace("41,300 guilders", "52,700 guilders")


def put(client: TestClient, document_id: str, content: str | bytes, name: str = "lease.md") -> Any:
    data = content.encode() if isinstance(content, str) else content
    return client.put(f"/documents/{document_id}", files={"file": (name, data)})


def settled(client: TestClient, document_id: str) -> dict[str, Any]:
    """The document once nothing of it is on its way."""
    wait_for(client, document_id)
    final = {"ready", "failed", "cancelled"}

    def done() -> bool:
        newer = client.get(f"/documents/{document_id}").json()["updating"]
        return newer is None or newer["status"] in final

    until(done)
    shown: dict[str, Any] = client.get(f"/documents/{document_id}").json()
    return shown


def test_a_new_file_takes_the_place_of_the_old_one(client: TestClient) -> None:
    document = ready(client, metadata='{"year": 2021}')
    path = f"/documents/{document['id']}"
    assert (document["generation"], document["updating"]) == (1, None)
    response = put(client, document["id"], RAISED, "raised.md")
    assert response.status_code == 202, response.text
    entry = response.json()["documents"][0]
    assert set(entry) == {"id", "filename", "status", "job_id", "generation", "unchanged"}
    assert (entry["id"], entry["filename"], entry["generation"]) == (document["id"], "raised.md", 2)
    with client.stream("GET", f"{path}/events") as events:
        body = "".join(events.iter_text())
    states = [json.loads(line[6:]) for line in body.splitlines() if line.startswith("data: {")]
    assert {state["status"] for state in states} == {"ready"}
    assert states[-1]["generation"] == 2
    assert states[-1]["updating"] is None
    after = client.get(path).json()
    assert (after["filename"], after["metadata"], after["generation"]) == ("raised.md", {"year": 2021}, 2)
    assert "52,700" in client.get(f"{path}/text").text
    assert client.get(f"{path}/content").content == RAISED.encode()
    found = client.post("/search", json={"query": "yearly rent in guilders"}).json()["results"]
    assert any("52,700" in result["text"] for result in found)
    assert not any("41,300" in result["text"] for result in found)
    versions = client.get(f"{path}/versions").json()["versions"]
    assert [(v["generation"], v["status"]) for v in versions] == [(2, "ready"), (1, "superseded")]
    assert [v["filename"] for v in versions] == ["raised.md", "lease.md"]
    assert data_files(client) == [f"{document['id']}.2"]
    again = put(client, document["id"], RAISED)
    assert (again.status_code, again.json()["documents"][0]["unchanged"]) == (200, True)
    assert client.delete(path).status_code == 204
    assert data_files(client) == []
    problem(client.get(f"{path}/versions"), 404, "document_not_found")
    problem(put(client, document["id"], "x"), 404, "document_not_found")


def test_a_file_that_can_not_be_read_leaves_the_old_one_answering(client: TestClient) -> None:
    document = ready(client)
    put(client, document["id"], b"%PDF-1.7\n garbage", "broken.pdf")
    shown = settled(client, document["id"])
    assert (shown["status"], shown["error"], shown["generation"]) == ("ready", None, 1)
    assert (shown["updating"]["status"], shown["updating"]["error"]["code"]) == ("failed", "corrupt")
    assert client.post(f"/documents/{document['id']}/retry").status_code == 202
    assert settled(client, document["id"])["updating"]["status"] == "failed"
    assert client.get(f"/documents/{document['id']}/text").text == LEASE


def test_a_replacement_has_one_file_and_nothing_else(client: TestClient) -> None:
    document = ready(client)
    path = f"/documents/{document['id']}"
    two = [("file", ("a.md", b"one")), ("file", ("b.md", b"two"))]
    problem(client.put(path, files=two), 422, "too_many_files")
    named = {"metadata": "{}"}
    problem(client.put(path, files={"file": ("a.md", b"one")}, data=named), 422, "unknown_field")
    other = ready(client, "other.md", "Another document.")
    refused = problem(put(client, document["id"], "Another document."), 409, "duplicate_document")
    assert refused["existing_document_id"] == other["id"]
    assert client.get(path).json()["updating"] is None


def test_metadata_is_merged_and_filters_go_by_it_at_once(client: TestClient) -> None:
    document = ready(client, metadata='{"year": 2021, "team": "legal", "more": {"a": 1}}')
    path = f"/documents/{document['id']}"

    def found(**filters: Any) -> int:
        body = {"query": "rent", "filters": filters}
        return len(client.post("/search", json=body).json()["results"])

    assert found(year=2021) > 0
    change = {"metadata": {"year": 2024, "team": None, "more": {"b": 2}, "title": "The mill's lease"}}
    changed = client.patch(path, json=change)
    assert changed.status_code == 200, changed.text
    expected = {"year": 2024, "more": {"a": 1, "b": 2}, "title": "The mill's lease"}
    assert (changed.json()["metadata"], changed.json()["title"]) == (expected, "The mill's lease")
    assert (changed.json()["generation"], changed.json()["updating"]) == (1, None)
    assert found(year=2021) == 0
    assert found(year=2024) > 0
    assert found(title="The mill's lease") > 0
    assert client.patch(path, json={}).json()["metadata"] == expected
    problem(client.patch(path, json={"metadata": {"a": "\0"}}), 422, "invalid_metadata")
    problem(client.patch(path, json={"metadata": {"a": "x" * 70_000}}), 422, "invalid_metadata")
    problem(client.patch(path, json={"metadata": [1]}), 422, "invalid_request")
    problem(client.patch(path, json={"title": "x"}), 422, "invalid_request")
    problem(client.patch("/documents/doc_" + "0" * 26, json={}), 404, "document_not_found")


def test_limits_of_a_collection(sqlite_client: TestClient) -> None:
    client = sqlite_client
    first = ready(client, "a.txt", "First text.", collection="small")
    limits = {"max_documents": 2, "max_bytes": 60}
    shown = client.patch("/collections/small", json=limits).json()
    assert {name: shown[name] for name in limits} == limits
    upload(client, "b.txt", "Second text.", collection="small")
    sent = {"files": {"file": ("c.txt", b"Third.")}, "data": {"collection": "small"}}
    assert problem(client.post("/documents", **sent), 409, "too_many_documents")["limit"] == 2
    large = problem(put(client, first["id"], "x" * 49, "a.txt"), 413, "collection_too_large")
    assert large["limit"] == 60
    assert put(client, first["id"], "y" * 48, "a.txt").status_code == 202
    cleared = client.patch("/collections/small", json={"max_documents": None, "max_bytes": None}).json()
    assert (cleared["max_documents"], cleared["max_bytes"]) == (None, None)
    assert client.post("/documents", **sent).status_code == 202
    for wrong in ({"max_documents": -1}, {"max_bytes": "9"}):
        problem(client.patch("/collections/small", json=wrong), 422, "invalid_request")


@pytest.mark.parametrize("state", ["failed", "cancelled"])
def test_a_document_that_was_never_ready_can_be_replaced(sqlite_client: TestClient, state: str) -> None:
    client = sqlite_client
    entry = upload(client, "broken.pdf", b"%PDF-1.7\n garbage")
    if state == "cancelled":
        client.post(f"/documents/{entry['id']}/cancel")
    wait_for(client, entry["id"])
    assert put(client, entry["id"], LEASE).status_code == 202
    shown = wait_for(client, entry["id"])
    assert (shown["status"], shown["filename"], shown["generation"]) == ("ready", "lease.md", 2)
    assert data_files(client) == [f"{entry['id']}.2"]
