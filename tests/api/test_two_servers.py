"""Two services over one store, as programs: each follows the other, and goes on where one was killed."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest

from tests.api.conftest import LEASE, until, upload, wait_for
from tests.api.test_resumable import BYTES, TUS, begin, send

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 300
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


@pytest.fixture(params=["sqlite", "postgres"])
def environment(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[dict[str, str]]:
    """A store of each kind, and nothing of the caller's settings."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("LONGLEAF_")}
    kept |= {"LONGLEAF_DATA_DIR": str(tmp_path / "data"), "PYTHONPATH": str(ROOT)}
    if request.param == "sqlite":
        yield kept
        return
    server = request.getfixturevalue("postgres_server")
    name = f"two_{secrets.token_hex(6)}"
    yield kept | {"LONGLEAF_DATABASE_URL": server.create(name)}
    server.drop(name)


@contextmanager
def serving(environment: dict[str, str], **more: str) -> Iterator[tuple[subprocess.Popen[str], httpx.Client]]:
    """A service that is ready."""
    process = subprocess.Popen(
        [sys.executable, "-m", "api", "serve", "--port", "0"],
        env=environment | more,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    url = process.stdout.readline().rsplit(" ", 1)[-1].strip()
    drain = threading.Thread(target=process.stdout.read, daemon=True)
    drain.start()
    try:
        with httpx.Client(base_url=url, timeout=120) as client:
            until(lambda: client.get("/readyz").status_code == 200, START_SECONDS)
            yield process, client
    finally:
        process.kill()
        process.wait(60)
        drain.join(10)


def found(client: httpx.Client, query: str) -> list[str]:
    results = client.post("/search", json={"query": query, "top_k": 5}).json()["results"]
    return [each["text"] for each in results]


def test_each_follows_what_the_other_does(environment: dict[str, str]) -> None:
    with ExitStack() as stack:
        _, one = stack.enter_context(serving(environment))
        _, other = stack.enter_context(serving(environment, LONGLEAF_INGEST_WORKERS="0"))
        assert found(other, "yearly rent") == []
        document = wait_for(other, upload(one)["id"], 240)
        assert document["status"] == "ready"
        # at the first search after `ready`, in either
        assert any("41,300 guilders" in text for text in found(other, "yearly rent"))
        assert any("41,300 guilders" in text for text in found(one, "yearly rent"))
        raised = LEASE.replace("41,300", "52,700").encode()
        path = f"/documents/{document['id']}"
        assert other.put(path, files={"file": ("lease.md", raised)}).status_code == 202
        until(lambda: one.get(path).json()["generation"] == 2, 240)
        for client in (one, other):
            assert any("52,700 guilders" in text for text in found(client, "yearly rent"))
            assert not any("41,300" in text for text in found(client, "yearly rent"))
        renamed = one.patch(path, json={"metadata": {"title": "Zanzibar"}}).json()
        assert renamed["title"] == "Zanzibar"
        assert other.post("/search", json={"query": "Zanzibar"}).json()["results"][0]["lexical_rank"] == 1
        assert one.delete(path).status_code == 204
        assert found(other, "yearly rent") == []


def test_an_upload_cut_off_by_a_kill_goes_on_at_another_service(environment: dict[str, str]) -> None:
    text = (LEASE * 400).encode()
    with serving(environment) as (process, client):
        where = begin(client, len(text), filename="lease.md")
        assert send(client, where, 0, text[:1000]).headers["upload-offset"] == "1000"
        url = client.base_url
        with socket.create_connection((url.host, url.port or 80)) as wire:
            head = f"PATCH {where} HTTP/1.1\r\nHost: {url.host}:{url.port}\r\n"
            head += f"Content-Length: {len(text) - 1000}\r\n"
            lines = "".join(f"{name}: {value}\r\n" for name, value in BYTES.items())
            wire.sendall((head + lines + "Upload-Offset: 1000\r\n\r\n").encode() + text[1000:200_000])
            data = Path(environment["LONGLEAF_DATA_DIR"]) / "uploads" / where.rpartition("/")[2] / "data"
            until(lambda: data.stat().st_size > 1000, 60)
            process.send_signal(signal.SIGKILL)
            process.wait(60)
    with serving(environment) as (_, client):
        there = int(client.head(where, headers=TUS).headers["upload-offset"])
        assert 1000 < there <= 200_000
        done = send(client, where, there, text[there:])
        identity = done.headers["longleaf-document"]
        assert client.get(f"/documents/{identity}/content").content == text
        assert wait_for(client, identity, 240)["status"] == "ready"
        assert len(client.get("/documents").json()["documents"]) == 1
