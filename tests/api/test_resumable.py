"""Resumable uploads: the protocol's words, what survives, and what becomes of a whole file."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient
from tusclient.client import TusClient
from tusclient.exceptions import TusCommunicationError

from api.app import create_app
from api.loaders import Loaders
from api.wiring import Service
from ingest import resumable
from ingest.resumable import ResumableUploads
from rag.settings import Settings
from tests.api.conftest import LEASE, listening, problem, ready, running, until, wait_for

TUS = {"Tus-Resumable": "1.0.0"}
BYTES = {**TUS, "Content-Type": "application/offset+octet-stream"}
TEXT = LEASE.encode()


def said(**pairs: str) -> dict[str, str]:
    """The header that tells what is uploaded."""
    encoded = (f"{key} {base64.b64encode(value.encode()).decode()}" for key, value in pairs.items())
    return {"Upload-Metadata": ",".join(encoded)}


def begin(client: Any, length: int, **pairs: str) -> str:
    response = client.post("/uploads", headers={**TUS, "Upload-Length": str(length), **said(**pairs)})
    assert response.status_code == 201, response.text
    assert response.headers["tus-resumable"] == "1.0.0"
    assert response.headers["upload-offset"] == "0"
    where: str = response.headers["location"]
    return where


def send(client: Any, where: str, offset: int, content: bytes, **headers: str) -> Any:
    return client.patch(where, headers={**BYTES, "Upload-Offset": str(offset), **headers}, content=content)


def kept(client: TestClient) -> list[str]:
    folder: Path = client.app.state.service.settings.data_dir / "uploads"  # type: ignore[attr-defined]
    return sorted(str(path.relative_to(folder)).split("/", 1)[1] for path in folder.glob("*/*"))


def test_a_file_in_three_parts_becomes_a_document(client: TestClient) -> None:
    where = begin(client, len(TEXT), filename="lease.md", filetype="text/markdown", metadata='{"year": 2021}')
    first = send(client, where, 0, TEXT[:100])
    assert (first.status_code, first.headers["upload-offset"]) == (204, "100")
    assert parsedate_to_datetime(first.headers["upload-expires"]).timestamp() > time.time() + 80_000
    middle = send(client, where, 100, TEXT[100:101])
    assert (middle.status_code, middle.headers["upload-offset"]) == (204, "101")
    head = client.head(where, headers=TUS)
    assert (head.status_code, head.headers["upload-offset"], head.content) == (200, "101", b"")
    assert (head.headers["upload-length"], head.headers["cache-control"]) == (str(len(TEXT)), "no-store")
    assert client.get("/documents").json()["documents"] == []
    last = send(client, where, 101, TEXT[101:], Accept="application/json")
    assert last.status_code == 202, last.text
    entry = last.json()["documents"][0]
    assert (entry["filename"], entry["id"]) == ("lease.md", last.headers["longleaf-document"])
    document = wait_for(client, entry["id"])
    assert (document["status"], document["metadata"]) == ("ready", {"year": 2021})
    assert document["sha256"] == hashlib.sha256(TEXT).hexdigest()
    assert client.get(f"/documents/{entry['id']}/content").content == TEXT
    done = client.head(where, headers=TUS)
    assert (done.headers["upload-offset"], done.headers["longleaf-document"]) == (str(len(TEXT)), entry["id"])
    assert kept(client) == ["info.json"]
    assert client.delete(where, headers=TUS).status_code == 204
    problem(client.delete(where, headers=TUS), 404, "upload_not_found")
    assert client.get(f"/documents/{entry['id']}").status_code == 200


def test_a_client_of_the_protocol_gets_its_own_status(sqlite_client: TestClient) -> None:
    client = sqlite_client
    asked = client.options("/uploads")
    assert asked.status_code == 204
    assert asked.headers["tus-version"] == asked.headers["tus-resumable"] == "1.0.0"
    assert asked.headers["tus-max-size"] == str(2 * 1024**3)
    assert "creation,creation-with-upload,termination,expiration,checksum" in asked.headers["tus-extension"]
    headers = {**BYTES, "Upload-Length": str(len(TEXT)), **said(filename="a.md", collection="other")}
    whole = client.post("/uploads", headers=headers, content=TEXT)
    assert (whole.status_code, whole.headers["upload-offset"]) == (201, str(len(TEXT)))
    document = client.get(f"/documents/{whole.headers['longleaf-document']}").json()
    assert (document["collection"], document["filename"]) == ("other", "a.md")
    empty = client.post("/uploads", headers={**TUS, "Upload-Length": "0"})
    assert wait_for(client, empty.headers["longleaf-document"])["error"]["code"] == "empty"


def test_what_does_not_fit_the_protocol_is_refused(sqlite_client: TestClient) -> None:
    client = sqlite_client
    refused = client.post("/uploads", headers={"Tus-Resumable": "0.2.2", "Upload-Length": "5"})
    assert problem(refused, 412, "tus_version")
    assert refused.headers["tus-version"] == "1.0.0"
    problem(client.post("/uploads", headers=TUS), 422, "invalid_request")
    problem(client.post("/uploads", headers={**TUS, "Upload-Length": "-1"}), 422, "invalid_request")
    large = client.post("/uploads", headers={**TUS, "Upload-Length": str(2 * 1024**3 + 1)})
    problem(large, 413, "too_large")
    for bad in ("filename", "filename !!", "a YQ==,a YQ==", "filename /w==", ", b"):
        answer = client.post("/uploads", headers={**TUS, "Upload-Length": "5", "Upload-Metadata": bad})
        if bad != "filename":  # a key alone has an empty value
            problem(answer, 422, "invalid_upload_metadata")
    for pairs, code in (
        ({"collection": "a/b"}, "invalid_collection_name"),
        ({"metadata": "[1]"}, "invalid_metadata"),
        ({"on_duplicate": "never"}, "invalid_upload_metadata"),
    ):
        answer = client.post("/uploads", headers={**TUS, "Upload-Length": "5", **said(**pairs)})
        problem(answer, 422, code)
    unknown = {**TUS, "Upload-Length": "5", **said(document_id="doc_" + "0" * 26)}
    problem(client.post("/uploads", headers=unknown), 404, "document_not_found")
    where = begin(client, 10)
    problem(send(client, where, 0, b"12345", **{"Content-Type": "text/plain"}), 415, "unsupported_media_type")
    assert problem(send(client, where, 3, b"12345"), 409, "offset_mismatch")["offset"] == 0
    problem(send(client, where, 0, b"12345678901"), 413, "too_large")
    assert client.head(where, headers=TUS).headers["upload-offset"] == "0"
    for path in ("/uploads/up_" + "0" * 26, "/uploads/..%5C..", "/uploads/blobs"):
        assert client.head(path, headers=TUS).status_code == 404
        problem(send(client, path, 0, b"1"), 404, "upload_not_found")


def test_bytes_with_a_wrong_checksum_are_not_kept(sqlite_client: TestClient) -> None:
    client = sqlite_client
    where = begin(client, len(TEXT), filename="a.md")

    def checksum(algorithm: str, content: bytes) -> dict[str, str]:
        digest = base64.b64encode(hashlib.new(algorithm, content).digest()).decode()
        return {"Upload-Checksum": f"{algorithm} {digest}"}

    assert send(client, where, 0, TEXT[:50], **checksum("sha1", TEXT[:50])).status_code == 204
    wrong = send(client, where, 50, b"x" * 50, **checksum("sha256", TEXT[50:100]))
    problem(wrong, 460, "checksum_mismatch")
    assert client.head(where, headers=TUS).headers["upload-offset"] == "50"
    problem(send(client, where, 50, b"x", **{"Upload-Checksum": "md5 AAAA"}), 400, "malformed_body")
    assert send(client, where, 50, TEXT[50:], **checksum("sha512", TEXT[50:])).status_code == 204


def test_a_whole_file_that_is_there_already(sqlite_client: TestClient) -> None:
    client = sqlite_client
    held = ready(client)
    where = begin(client, len(TEXT), filename="copy.md")
    refused = problem(send(client, where, 0, TEXT), 409, "duplicate_document")
    assert refused["existing_document_id"] == held["id"]
    again = begin(client, len(TEXT), filename="copy.md", on_duplicate="reuse")
    taken = send(client, again, 0, TEXT)
    assert (taken.status_code, taken.headers["longleaf-document"]) == (204, held["id"])
    assert len(client.get("/documents").json()["documents"]) == 1


def test_an_upload_can_be_the_next_version_of_a_document(sqlite_client: TestClient) -> None:
    client = sqlite_client
    held = ready(client)
    changed = TEXT.replace(b"nine years", b"ten years")
    where = begin(client, len(changed), filename="lease.md", document_id=held["id"])
    assert send(client, where, 0, changed).headers["longleaf-document"] == held["id"]
    until(lambda: client.get(f"/documents/{held['id']}").json()["generation"] == 2)
    assert "ten years" in client.get(f"/documents/{held['id']}/text").text


@pytest.fixture
def restarted(make_settings: Callable[..., Settings], loaders: Loaders) -> Iterator[Callable[[], TestClient]]:
    """Gives a client of a newly started service each time, on the same data folder."""
    running_now: list[Iterator[TestClient]] = []

    def start() -> TestClient:
        for before in running_now:
            next(before, None)
        running_now.clear()
        service = running(make_settings(), loaders)
        running_now.append(service)
        return next(service)

    yield start
    for before in running_now:
        next(before, None)


def test_an_upload_goes_on_after_a_restart(restarted: Callable[[], TestClient]) -> None:
    client = restarted()
    where = begin(client, len(TEXT), filename="lease.md", metadata='{"year": 2021}')
    send(client, where, 0, TEXT[:300])
    client = restarted()
    assert client.head(where, headers=TUS).headers["upload-offset"] == "300"
    done = send(client, where, 300, TEXT[300:])
    document = wait_for(client, done.headers["longleaf-document"])
    assert (document["status"], document["metadata"]) == ("ready", {"year": 2021})


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_crash_at_the_very_end_makes_one_document(
    restarted: Callable[[], TestClient], monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    client = restarted()
    where = begin(client, len(TEXT), filename="lease.md")
    place = (resumable, "WholeFile") if when == "before" else (ResumableUploads, "finished")

    def crash(*_: Any) -> None:
        raise RuntimeError("killed here")

    with monkeypatch.context() as patched:
        patched.setattr(*place, crash)
        assert send(client, where, 0, TEXT).status_code == 500
    client = restarted()
    head = client.head(where, headers=TUS)
    assert head.headers["upload-offset"] == str(len(TEXT))
    assert wait_for(client, head.headers["longleaf-document"])["status"] == "ready"
    assert len(client.get("/documents").json()["documents"]) == 1


def test_an_upload_without_news_expires(sqlite_client: TestClient) -> None:
    client = sqlite_client
    where = begin(client, 10)
    folder: Path = client.app.state.service.settings.data_dir / "uploads" / where.rpartition("/")[2]  # type: ignore[attr-defined]
    old = time.time() - 25 * 3600
    os.utime(folder / "data", (old, old))
    assert client.head(where, headers=TUS).status_code == 404
    assert folder.exists()
    begin(client, 10)
    assert not folder.exists()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, loaders: Loaders) -> Iterator[str]:
    """The address of a real server."""
    found = Settings(_env_file=None, data_dir=tmp_path_factory.mktemp("tus"))
    with listening(create_app(found, Service(found, loaders))) as port:
        yield f"http://127.0.0.1:{port}"


def test_a_client_library_sends_and_resumes(served: str, tmp_path: Path) -> None:
    path = tmp_path / "lease.md"
    path.write_bytes(TEXT)
    uploader = TusClient(f"{served}/uploads").uploader(
        str(path),
        chunk_size=200,
        metadata={"filename": "lease.md", "collection": "tus"},
        upload_checksum=True,
    )
    uploader.upload(stop_at=400)
    assert uploader.offset == 400
    again = TusClient(f"{served}/uploads").uploader(str(path), chunk_size=200, url=uploader.url)
    assert again.offset == 400
    again.upload()
    with httpx.Client(base_url=served) as client:
        head = client.head(again.url, headers=TUS)
        document = wait_for(client, head.headers["longleaf-document"])
        assert (document["status"], document["bytes"]) == ("ready", len(TEXT))
    with pytest.raises(TusCommunicationError):
        TusClient(f"{served}/uploads").uploader(str(path), url=f"{served}/uploads/up_none").upload()


def test_a_connection_that_breaks_leaves_what_came(served: str) -> None:
    content = os.urandom(700_000)
    host, port = served.removeprefix("http://").split(":")
    with httpx.Client(base_url=served) as client:
        where = begin(client, len(content), filename="noise.bin")
        with socket.create_connection((host, int(port))) as wire:
            head = f"PATCH {where} HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Length: {len(content)}\r\n"
            lines = [f"{name}: {value}\r\n" for name, value in BYTES.items()]
            wire.sendall((head + "".join(lines) + "Upload-Offset: 0\r\n\r\n").encode() + content[:300_000])
        there = 0

        def arrived() -> bool:
            nonlocal there
            there = int(client.head(where, headers=TUS).headers["upload-offset"])
            return there > 0

        until(arrived)
        response = send(client, where, there, content[there:])
        assert response.status_code in {204, 423}, response.text
        document = response.headers["longleaf-document"]
        assert client.get(f"/documents/{document}/content").content == content


def test_two_requests_can_not_send_to_one_upload_at_once(settings: Settings) -> None:
    uploads = ResumableUploads(settings, "ws_default")
    upload = uploads.create(10, "a.txt", "default")
    with uploads.append(upload, 0) as first:
        first.write(b"12345")
        with pytest.raises(resumable.UploadLocked), uploads.append(upload, 5):
            pass
    assert uploads.offset(upload) == 5
    stored = json.loads((settings.data_dir / "uploads" / upload.id / "info.json").read_text())
    assert stored["length"] == 10
    other = ResumableUploads(settings, "ws_other")
    with pytest.raises(resumable.NotFound):
        other.get(upload.id)
