"""The command `longleaf`, run as a program: what it prints where, and what it ends with."""

from __future__ import annotations

import json
import os
import pty
import secrets
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import text
from typer.testing import CliRunner

from api.cli import app
from rag.store.session import Database
from tests.api.conftest import LEASE, in_process, until
from tests.page.pdf_pages import pdf_of

ROOT = Path(__file__).resolve().parents[2]
Command = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """The caller's environment without settings of Longleaf, and with a data folder of the test's own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("LONGLEAF_")}
    return kept | {"LONGLEAF_DATA_DIR": str(tmp_path / "data"), "NO_COLOR": "1"}


@pytest.fixture
def longleaf(environment: dict[str, str], tmp_path: Path) -> Command:
    """Run the program to its end."""

    def run(*arguments: str | Path, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "api", *map(str, arguments)],
            cwd=tmp_path,
            env=environment | {"PYTHONPATH": str(ROOT)} | more,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    return run


@pytest.fixture
def here(
    environment: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Command:
    """Run the program in this process, where its libraries are imported already."""
    for name in [name for name in os.environ if name.startswith("LONGLEAF_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("LONGLEAF_DATA_DIR", environment["LONGLEAF_DATA_DIR"])
    monkeypatch.chdir(tmp_path)

    return in_process(capsys)


def test_a_folder_is_read_searched_and_asked(longleaf: Command, here: Command, tmp_path: Path) -> None:
    folder = tmp_path / "papers"
    (folder / "deep").mkdir(parents=True)
    (folder / "lease.md").write_text(LEASE)
    (folder / "deep" / "mill.pdf").write_bytes(pdf_of(["The mill was built in 1650.", "It has two wheels."]))
    (folder / "scan.pdf").write_bytes(pdf_of([""]))

    first = longleaf("ingest", folder, "--json")
    assert first.returncode == 1  # one file could not be read
    told = json.loads(first.stdout)
    assert (told["ready"], told["failed"], told["duplicates"]) == (2, 1, 0)
    assert "scan.pdf" in first.stderr
    assert {e["error"]["code"] for e in told["documents"] if e["error"]} == {"no_text"}

    again = here("ingest", folder / "lease.md")
    assert again.returncode == 0
    assert "1 skipped as duplicates" in again.stdout

    found = json.loads(here("search", "water wheel", "--json").stdout)["results"]
    assert found[0]["document_title"] == "Lease of the mill"

    asked = here("ask", "How many guilders is the yearly rent?", "--json")
    assert asked.returncode == 0, asked.stderr
    body = json.loads(asked.stdout)
    assert body["answer_status"] == "answered"
    assert "41,300 guilders" in body["citations"][0]["cited_text"]

    status = json.loads(here("status", "--json").stdout)
    assert status["database"]["documents"]["ready"] == 2
    assert status["machine"]["dtype"] in {"float32", "bfloat16"}
    assert status["disk"]["blobs"] > 0


def test_files_are_asked_without_a_trace(longleaf: Command, tmp_path: Path) -> None:
    file = tmp_path / "mill.pdf"
    file.write_bytes(pdf_of(["The mill was built in 1650 by the miller Hans Vogt.", "It has two wheels."]))
    asked = longleaf("ask", file, "How many wheels does the mill have?")
    assert asked.returncode == 0, asked.stderr
    assert "page 2" in asked.stdout
    assert "two wheels" in asked.stdout
    assert "\x1b" not in asked.stdout
    assert not (tmp_path / "data" / "blobs").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["frobnicate"], 2, "No such command"),
        (["ask"], 2, "Missing argument"),
        (["ask", "  "], 2, "empty"),
        (["ask", "nowhere.pdf", "Why?"], 1, "nowhere.pdf: there is no such file"),
        (["ask", "Why?", "--top-k", "0"], 2, "--top-k"),
        (["ask", "Why?", "-c", "nowhere"], 1, "no collection"),
        (["serve", "--port", "99999"], 2, "--port"),
        (["serve", "--host", "no.such.host.invalid"], 2, "LONGLEAF_AUTH"),
    ],
)
def test_messages_are_plain_and_on_stderr(
    longleaf: Command, arguments: list[str], code: int, message: str
) -> None:
    ended = longleaf(*arguments)
    assert (ended.returncode, ended.stdout) == (code, ""), ended.stderr
    assert message in ended.stderr
    assert "Traceback" not in ended.stderr


def test_an_address_that_is_nowhere_is_named(longleaf: Command) -> None:
    ended = longleaf("serve", "--host", "no.such.host.invalid", LONGLEAF_AUTH="open")
    assert (ended.returncode, ended.stdout) == (1, ""), ended.stderr
    assert "LONGLEAF_HOST" in ended.stderr


def test_a_wrong_setting_is_named(longleaf: Command) -> None:
    ended = longleaf("status", LONGLEAF_PORT="many")
    assert ended.returncode == 2
    assert "LONGLEAF_PORT" in ended.stderr
    assert "many" in ended.stderr


def test_help_version_and_an_early_reader() -> None:
    runner = CliRunner()
    assert runner.invoke(app, ["--help"]).exit_code == 0
    assert "longleaf" in runner.invoke(app, ["--version"]).output
    models = runner.invoke(app, ["models", "--json"])
    assert {model["role"] for model in json.loads(models.output)["models"]} >= {"writes", "embeds"}


def test_output_for_a_reader_that_goes_away(environment: dict[str, str]) -> None:
    command = f"{sys.executable} -m api models | true; echo ${{PIPESTATUS[0]}}"
    ended = subprocess.run(
        ["bash", "-c", command], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert ended.stdout.strip() in {"0", "141"}
    assert ended.stderr == ""


def test_progress_is_for_terminals_only(environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "lease.md").write_text(LEASE)
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "api", "ingest", str(tmp_path / "lease.md")],
        cwd=ROOT,
        env=environment | {"TERM": "xterm"},
        stdout=subprocess.PIPE,
        stderr=theirs,
    )
    os.close(theirs)
    shown = b""
    try:
        while piece := os.read(ours, 65536):
            shown += piece
    except OSError:  # Linux says EIO where the last writer has gone
        pass
    os.close(ours)
    assert process.wait(60) == 0
    assert b"lease.md" in shown or b"%" in shown or b"1/1" in shown


def serve(environment: dict[str, str], *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "api", "serve", *arguments],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_server_starts_says_where_and_ends_gracefully(environment: dict[str, str], tmp_path: Path) -> None:
    process = serve(environment, "--port", "0")
    assert process.stdout is not None
    line = process.stdout.readline()
    url = line.rsplit(" ", 1)[-1].strip()
    assert line.startswith("Longleaf is at http://127.0.0.1:")
    assert httpx.get(f"{url}/healthz").status_code == 200
    assert (tmp_path / "data" / "longleaf.db").is_file()  # migrated
    port = url.rsplit(":", 1)[-1]
    second = serve(environment, "--port", port)
    assert second.wait(60) == 1
    assert second.stderr is not None
    assert f"port {port} is in use" in second.stderr.read()
    until(lambda: httpx.get(f"{url}/readyz").status_code == 200)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) in {0, -signal.SIGTERM}
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", int(port))) != 0


def ranks(parent: int) -> list[int]:
    """The processes over which a server has split its model."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            fields = (entry / "stat").read_text().rsplit(")", 1)[1].split()
            if int(fields[1]) == parent and "model.parallel" in (entry / "cmdline").read_text():
                found.append(int(entry.name))
        except OSError:  # it has ended meanwhile
            continue
    return found


def test_a_server_whose_model_has_died_ends_with_an_error(environment: dict[str, str]) -> None:
    process = serve(environment | {"LONGLEAF_MODEL_PROCESSES": "3"}, "--port", "0")
    assert process.stdout is not None
    assert process.stderr is not None
    url = process.stdout.readline().rsplit(" ", 1)[-1].strip()
    until(lambda: httpx.get(f"{url}/readyz").status_code == 200)
    three = ranks(process.pid)
    assert len(three) == 3
    os.kill(three[1], signal.SIGKILL)
    assert process.wait(60) == 1
    assert "the engine has failed: " in process.stderr.read()
    assert not ranks(process.pid)


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("DELETE FROM alembic_version", "holds tables but no Longleaf schema"),
        ("UPDATE alembic_version SET version_num = '9999'", "9999"),
    ],
)
def test_a_schema_that_is_not_ours_is_refused(
    environment: dict[str, str], postgres_server: Any, statement: str, message: str
) -> None:
    name = f"foreign_{secrets.token_hex(6)}"
    url = postgres_server.create(name)
    database = Database(url)
    with database.session() as session:
        session.execute(text(statement))
    database.dispose()
    refused = serve(environment | {"LONGLEAF_DATABASE_URL": url}, "--port", "0")
    assert refused.wait(60) == 1
    assert refused.stderr is not None
    said = refused.stderr.read()
    assert message in said
    assert "Traceback" not in said
    postgres_server.drop(name)
