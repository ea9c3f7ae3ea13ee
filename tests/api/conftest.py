"""A running application on each kind of database, with the real models, loaded once for all tests."""

from __future__ import annotations

import functools
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from fastapi import FastAPI
from fastapi.testclient import TestClient

from api.app import create_app
from api.cli import _run
from api.loaders import Loaders
from api.wiring import Service
from model import Engine
from rag.embedders.base import Embedder
from rag.settings import Settings

FINAL = {"ready", "failed", "cancelled"}

LEASE = """# Lease of the mill

## Term and notice

The lease begins on the first of March 2021 and runs for nine years. Either side may end it with a notice
period of fourteen months, in writing, to the end of a quarter.

## Rent

The yearly rent is 41,300 guilders, due in four equal parts. The tenant keeps the water wheel in repair.

## Fishing

The right to fish in the mill pond stays with the owner, Mrs. Adelheid Brandt of Lindau.
"""


@pytest.fixture(scope="session")
def engine() -> Engine:
    """The bundled generator, loaded once."""
    return Engine.load("auto")


@pytest.fixture(scope="session")
def loaders(embedder: Embedder, engine: Engine) -> Loaders:
    """The real models, shared by every service of the tests."""
    return Loaders(embedder=lambda _settings: embedder, engine=lambda _settings: engine)


@pytest.fixture
def make_settings(tmp_path: Path) -> Callable[..., Settings]:
    """Settings of a test's own folder, which answer to the test client's host name."""

    def make(**more: Any) -> Settings:
        values = {"data_dir": tmp_path / "data", "allowed_hosts": "testserver", "port": 0, **more}
        return Settings(_env_file=None, **values)

    return make


@pytest.fixture
def client(
    database_url: str, make_settings: Callable[..., Settings], loaders: Loaders
) -> Iterator[TestClient]:
    """The application with worker and models; the test runs once on each kind of database."""
    yield from running(make_settings(database_url=database_url), loaders)


@pytest.fixture
def sqlite_client(make_settings: Callable[..., Settings], loaders: Loaders) -> Iterator[TestClient]:
    """The application on SQLite, for what does not depend on the database."""
    yield from running(make_settings(), loaders)


def running(settings: Settings, loaders: Loaders) -> Iterator[TestClient]:
    """A client of a started application; an error inside it is an answer, not an exception."""
    app = create_app(settings, Service(settings, loaders))
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


@contextmanager
def listening(app: FastAPI) -> Iterator[int]:
    """Port of a real server of an application."""
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_config=None))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        until(lambda: server.started)
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(30)


def until(true: Callable[[], bool], seconds: float = 60) -> None:
    """Wait until it is true; a failure when it does not become so."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def upload(client: Any, name: str = "lease.md", content: bytes | str = LEASE, **form: str) -> dict[str, Any]:
    """Send one file and return its entry of the answer."""
    data = content.encode() if isinstance(content, str) else content
    response = client.post("/documents", files={"file": (name, data)}, data=form)
    assert response.status_code == 202, response.text
    entry: dict[str, Any] = response.json()["documents"][0]
    return entry


def wait_for(client: Any, document_id: str, seconds: float = 60) -> dict[str, Any]:
    """The document once its state is final."""
    deadline = time.monotonic() + seconds
    while True:
        document: dict[str, Any] = client.get(f"/documents/{document_id}").json()
        if document["status"] in FINAL or time.monotonic() > deadline:
            return document
        time.sleep(0.05)


def ready(client: Any, name: str = "lease.md", content: bytes | str = LEASE, **form: str) -> dict[str, Any]:
    """Send one file and return its document once it can be asked about."""
    document = wait_for(client, upload(client, name, content, **form)["id"])
    assert document["status"] == "ready", document
    return document


def in_process(
    capsys: pytest.CaptureFixture[str],
) -> Callable[..., subprocess.CompletedProcess[str]]:
    """The command `longleaf`, run in the tests' own process, where its libraries are imported already."""

    def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
        given = [*map(str, arguments)]
        capsys.readouterr()
        code = _run(given)
        said = capsys.readouterr()
        return subprocess.CompletedProcess(given, code, said.out, said.err)

    return run


def command_of(
    folder: Path, loaders: Loaders, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run the command in this process and this folder, its store beside, with these models."""
    monkeypatch.setenv("LONGLEAF_DATA_DIR", str(folder / "data"))
    monkeypatch.chdir(folder)
    monkeypatch.setattr("api.commands.session.Service", functools.partial(Service, loaders=loaders))
    return in_process(capsys)


def problem(response: Any, status: int, code: str) -> dict[str, Any]:
    """Check that an answer is the problem document expected (RFC 9457) and return it."""
    assert response.status_code == status, (response.status_code, response.text)
    assert response.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = response.json()
    assert {"type", "title", "status", "detail", "code", "instance"} <= set(body)
    assert (body["status"], body["code"]) == (status, code), body
    return body
