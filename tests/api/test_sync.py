"""`longleaf sync`, run as a program: once, dry, refused, killed, and following a folder beside a service."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.api.conftest import LEASE, until

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """The caller's environment without settings of Longleaf, and with a data folder of the test's own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("LONGLEAF_")}
    return kept | {
        "LONGLEAF_DATA_DIR": str(tmp_path / "data"),
        "NO_COLOR": "1",
        "PYTHONPATH": str(ROOT),
        "PYTHONUNBUFFERED": "1",
    }


@pytest.fixture(params=["sqlite", "postgres"])
def stored(request: pytest.FixtureRequest, environment: dict[str, str]) -> Iterator[dict[str, str]]:
    """The same with a store on each kind of database."""
    if request.param == "sqlite":
        yield environment
        return
    server = request.getfixturevalue("postgres_server")
    name = f"sync_{secrets.token_hex(6)}"
    yield environment | {"LONGLEAF_DATABASE_URL": server.create(name)}
    server.drop(name)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a file."""
    papers = tmp_path / "papers"
    (papers / "deep").mkdir(parents=True)
    (papers / "deep" / "lease.md").write_text(LEASE)
    return papers


def longleaf(environment: dict[str, str], *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "api", *map(str, arguments)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


@contextmanager
def started(environment: dict[str, str], *arguments: str | Path) -> Iterator[tuple[Any, list[str]]]:
    """A program that runs, and the lines that it prints."""
    process = subprocess.Popen(
        [sys.executable, "-m", "api", *map(str, arguments)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    lines: list[str] = []
    assert process.stdout is not None
    assert process.stderr is not None
    readers = [
        threading.Thread(target=lambda stream=stream: lines.extend(stream))
        for stream in (process.stdout, process.stderr)
    ]
    for reader in readers:
        reader.start()
    try:
        yield process, lines
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(60)
        for reader in readers:
            reader.join(10)


@pytest.mark.slow
def test_a_folder_is_mirrored_by_the_program(stored: dict[str, str], folder: Path, tmp_path: Path) -> None:
    (folder / "broken.pdf").write_bytes(b"%PDF-1.7\n garbage")
    would = longleaf(stored, "sync", folder, "--dry-run", "--json")
    assert would.returncode == 0, would.stderr
    told = json.loads(would.stdout)
    assert (told["dry_run"], told["added"]) == (True, ["broken.pdf", "deep/lease.md"])
    assert not (tmp_path / "data").exists()

    first = longleaf(stored, "sync", folder)
    assert first.returncode == 1  # one file can't be read
    assert "broken.pdf: " in first.stderr
    assert first.stdout.splitlines() == [
        "+ broken.pdf",
        "+ deep/lease.md",
        "2 new; 0 unchanged, 1 can't be read",
    ]
    found = json.loads(longleaf(stored, "search", "yearly rent", "--json").stdout)["results"]
    assert "41,300 guilders" in found[0]["text"]

    (folder / "deep" / "lease.md").rename(folder / "mill.md")
    (folder / "broken.pdf").unlink()
    second = longleaf(stored, "sync", folder, "--json")
    assert second.returncode == 0, second.stderr
    told = json.loads(second.stdout)
    assert told["moved"] == [{"from": "deep/lease.md", "to": "mill.md"}]
    assert (told["deleted"], told["unreadable"], told["problems"]) == (["broken.pdf"], 0, [])

    (folder / "mill.md").unlink()
    refused = longleaf(stored, "sync", folder)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "--delete-all" in refused.stderr
    assert longleaf(stored, "sync", folder, "--delete-all").stdout.startswith("- mill.md")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["sync"], 2, "Missing argument"),
        (["sync", "nowhere"], 1, "there is no folder nowhere"),
        (["sync", "nowhere", "--dry-run"], 1, "there is no folder nowhere"),
        (["sync", ".", "--watch", "--dry-run"], 2, "exclude each other"),
        (["sync", ".", "-c", "a/b"], 1, "'a/b' can't be a collection's name: it has 1 to 100"),
        (["sync", ".", "-c", "a/b", "--dry-run"], 1, "no slash"),
    ],
)
def test_messages_are_plain(
    environment: dict[str, str], arguments: list[str], code: int, message: str
) -> None:
    ended = longleaf(environment, *arguments)
    assert (ended.returncode, ended.stdout) == (code, ""), ended.stderr
    assert message in ended.stderr
    assert "Traceback" not in ended.stderr


def _reached(blobs: Path, least: int, process: Any) -> Callable[[], bool]:
    return lambda: len(list(blobs.glob("doc_*"))) >= least or process.poll() is not None


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_program_that_is_killed_goes_on_where_it_was(stored: dict[str, str], folder: Path) -> None:
    for number in range(6):
        (folder / f"{number}.txt").write_text(f"Report number {number} of the mill. " * 20)
    blobs = Path(stored["LONGLEAF_DATA_DIR"]) / "blobs"
    for least in (2, 5):
        with started(stored, "sync", folder) as (process, _):
            until(_reached(blobs, least, process), 240)
            process.kill()
    ended = longleaf(stored, "sync", folder, "--json")
    assert ended.returncode == 0, ended.stderr
    status = json.loads(longleaf(stored, "status", "--json").stdout)
    assert status["database"]["documents"] == {"ready": 7}


@pytest.mark.soak
@pytest.mark.timeout(900)
@pytest.mark.parametrize("read", ["--read", "--no-read"])
def test_a_folder_is_followed_beside_a_service(stored: dict[str, str], folder: Path, read: str) -> None:
    with started(stored, "serve", "--port", "0") as (server, said):
        until(lambda: any("http://" in line for line in said) or server.poll() is not None, 240)
        url = next(line for line in said if "http://" in line).rsplit(" ", 1)[-1].strip()
        until(lambda: httpx.get(f"{url}/readyz", timeout=60).status_code == 200, 240)
        with (
            started(stored, "sync", folder, "--watch", "--json", read) as (process, lines),
            httpx.Client(base_url=url, timeout=60) as client,
        ):

            def texts(query: str) -> str:
                results = client.post("/search", json={"query": query}).json()["results"]
                return " ".join(f"{each['filename']}: {each['text']}" for each in results)

            def documents() -> dict[str, Any]:
                return {
                    each["metadata"].get("path"): each
                    for each in client.get("/documents").json()["documents"]
                }

            def at_rest(check: Callable[[], bool]) -> None:
                until(lambda: check() or process.poll() is not None, 240)
                assert process.poll() is None, lines

            at_rest(lambda: "41,300 guilders" in texts("yearly rent"))
            first = documents()["deep/lease.md"]
            (folder / "pond.md").write_text("The pond is four metres deep at the sluice.")
            at_rest(lambda: "four metres" in texts("How deep is the pond?"))
            (folder / "deep" / "lease.md").write_text(LEASE.replace("41,300", "52,700"))
            at_rest(lambda: "52,700 guilders" in texts("yearly rent"))
            assert "41,300" not in texts("yearly rent")
            (folder / "deep" / "lease.md").rename(folder / "mill.md")
            at_rest(lambda: "mill.md" in documents())
            moved = documents()["mill.md"]
            assert (moved["id"], moved["filename"], moved["generation"]) == (first["id"], "mill.md", 2)
            (folder / "pond.md").unlink()
            at_rest(lambda: "pond.md" not in documents())
            assert "four metres" not in texts("How deep is the pond?")
            again = longleaf(stored, "sync", folder)
            assert again.returncode == 1
            assert "wait for its end" in again.stderr
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0
        runs = [json.loads(line) for line in lines if line.startswith("{")]
        assert runs[0]["added"] == ["deep/lease.md"]
        assert [run["moved"] for run in runs if run["moved"]] == [
            [{"from": "deep/lease.md", "to": "mill.md"}]
        ]
        assert not [line for line in lines if "Traceback" in line]
