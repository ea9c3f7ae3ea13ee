"""Bulk ingest on a real cluster of two nodes: what is lost in the middle costs time and nothing else."""

from __future__ import annotations

import shutil
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ray_nodes import Nodes
from typer.testing import CliRunner

from api.cli import app
from api.cluster.joining import joined
from ingest.worker import Worker
from rag.embedders import Embedder
from rag.errors import InvalidRequest, Unavailable
from rag.store.repositories import DEFAULT_SCOPE, Chunks, Documents
from rag.store.session import Database
from tests.cluster.bulk_house import BulkHouse

DATA = Path(__file__).resolve().parents[1] / "data" / "formats"
PATIENCE = 250.0


@pytest.fixture
def house(tmp_path: Path, database_url: str) -> BulkHouse:
    """Notes and real files of several formats, none of them read yet."""
    made = BulkHouse(tmp_path / "bulk", database_url)
    made.write(30, (1, 30))
    for path in DATA.glob("harbour*"):
        shutil.copy(path, made.files / path.name)
    return made


@pytest.fixture
def command(house: BulkHouse, monkeypatch: pytest.MonkeyPatch):
    """The command, in this process."""
    monkeypatch.setenv("LONGLEAF_DATA_DIR", str(house.settings.data_dir))
    monkeypatch.setenv("LONGLEAF_DATABASE_URL", house.settings.database_url)
    monkeypatch.setenv("LONGLEAF_CHUNK_TOKENS", str(house.settings.chunk_tokens))

    def run(*arguments: str) -> tuple[int, str, str]:
        result = CliRunner().invoke(app, ["ingest", *arguments])
        return result.exit_code, result.stdout, result.stderr

    return run


def _until(condition) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def _store(db: Database) -> dict[str, Any]:
    """What a store holds of each file: text, and chunks with their places and vectors."""
    held = {}
    with db.read() as session:
        documents = Documents(session, DEFAULT_SCOPE)
        for row in documents.list():
            chunks = Chunks(session, DEFAULT_SCOPE).of_generation(row.id, row.generation)
            places = [(c.start, c.end, c.page_start, c.page_end, c.headings, c.tokens) for c in chunks]
            vectors = [np.asarray(c.vector, np.float32) for c in chunks]
            held[row.filename] = (row.status, row.title, documents.text(row.id), places, vectors)
    return held


@pytest.fixture
def alone(tmp_path: Path, sqlite_template: Path) -> BulkHouse:
    """Another installation, whose documents one process reads."""
    (tmp_path / "alone.db").write_bytes(sqlite_template.read_bytes())
    return BulkHouse(tmp_path / "alone", f"sqlite:///{tmp_path / 'alone.db'}")


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_killed_command_and_a_lost_node_leave_what_one_process_makes(
    nodes: Nodes, house: BulkHouse, command, embedder: Embedder, alone: BulkHouse
) -> None:
    driver = house.start(nodes.address)
    _until(lambda: house.jobs().get("done", 0) > 2)
    house.kill(driver)
    done = house.jobs()["done"]
    assert house.jobs()["running"] > 0

    def lose() -> None:
        _until(lambda: house.jobs().get("done", 0) > done + 2 and nodes.actors(nodes.workers[0]))
        lost.append(nodes.cut_off(nodes.workers[0]))

    lost: list[int] = []
    striker = threading.Thread(target=lose)
    striker.start()
    code, out, err = command("--cluster", nodes.address, str(house.files))
    striker.join()
    assert code == 0, err
    assert lost[0] > 0
    assert ", 0 failed" in out
    assert house.check(embedder) == len(list(house.files.iterdir()))

    shutil.copytree(house.files, alone.files, dirs_exist_ok=True)
    _read_alone(alone, embedder)
    mine, theirs = _store(house.db), _store(alone.db)
    assert mine.keys() == theirs.keys()
    for name, (*ours, vectors) in mine.items():
        *others, expected = theirs[name]
        assert ours == others, name
        for vector, other in zip(vectors, expected, strict=True):
            assert float(np.dot(vector, other)) > 0.9995, name


def _read_alone(house: BulkHouse, embedder: Embedder) -> None:
    from ingesting import Desk  # noqa: PLC0415

    desk = Desk(house.db, house.settings, embedder, "default")
    for path in sorted(house.files.iterdir()):
        desk.upload(path.read_bytes(), path.name)
    Worker(house.db, house.settings, embedder).run_until_idle()


def test_an_address_of_another_kind_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="HOST:PORT"), joined("ray://somewhere:10001"):
        pass


def test_without_ray_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(Unavailable, match=r"pip install 'longleaf\[ray\]'"), joined("127.0.0.1:1"):
        pass
