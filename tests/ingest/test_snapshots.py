"""A stored index that is missing, old, damaged or another's costs time, and never an answer."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ingesting import Desk, WordEmbedder

from ingest.deletion import delete_document
from ingest.worker import Worker
from rag.index import snapshot
from rag.index.collection import CollectionIndex, IndexedDocument
from rag.index.live import LiveIndexes
from rag.settings import Settings
from rag.store.repositories import DEFAULT_SCOPE
from rag.store.session import Database

ORIGIN = snapshot.Origin("store", "col_1", "model@1")


@pytest.fixture
def desk(database: Database, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """Three documents, read, and their index stored."""
    monkeypatch.setattr("rag.index.live.WORTH_SAVING", 1)
    desk = Desk(database, settings)
    for name in ("heron", "mill", "lease"):
        desk.upload(f"The {name} of the pond. It is told of the {name} at length.".encode(), f"{name}.txt")
    Worker(desk.db, desk.settings, desk.embedder).run_until_idle()
    LiveIndexes(desk.db, desk.settings).follow(desk.collection_id)
    assert (folder(desk) / snapshot.MANIFEST).is_file()
    return desk


def folder(desk: Desk) -> Path:
    return desk.settings.data_dir / "index" / desk.collection_id


def answers(desk: Desk) -> list[Any]:
    """What a process says that has just started."""
    index = LiveIndexes(desk.db, desk.settings).follow(desk.collection_id)
    found = []
    for question in ("heron", "mill pond", "lease at length"):
        hits = index.search(question, WordEmbedder().embed_query(question), 20)
        order = np.argsort(hits.ids)
        found.append(
            (
                hits.ids[order].tolist(),
                np.round(hits.dense[order], 3).tolist(),
                np.round(hits.lexical[order], 4).tolist(),
            )
        )
    return found


def damages(content: bytes) -> Iterator[bytes]:
    """What can become of a file."""
    yield b""
    yield content[: len(content) // 2]
    yield content + b"\0"
    for place in (0, len(content) // 2, len(content) - 1):
        yield content[:place] + bytes([content[place] ^ 0x10]) + content[place + 1 :]


def test_a_missing_or_damaged_one_is_built_anew(desk: Desk) -> None:
    expected = answers(desk)
    good = {path.name: path.read_bytes() for path in folder(desk).iterdir()}
    for name, whole in good.items():
        for place, content in enumerate([*damages(whole), None]):
            shutil.rmtree(folder(desk))
            folder(desk).mkdir(parents=True)
            for each, raw in (good | {name: content}).items():
                if raw is not None:
                    (folder(desk) / each).write_bytes(raw)
            assert answers(desk) == expected, (name, place)
    shutil.rmtree(folder(desk))
    assert answers(desk) == expected


def test_an_old_one_is_brought_up_to_date(desk: Desk, tmp_path: Path) -> None:
    shutil.copytree(folder(desk), tmp_path / "old")
    first = desk.get(desk.upload(b"The otter of the pond.", "otter.txt").document.id)
    Worker(desk.db, desk.settings, desk.embedder).run_until_idle()
    with desk.db.read() as session:
        from rag.store.repositories import Documents  # noqa: PLC0415

        [mill] = [row for row in Documents(session, DEFAULT_SCOPE).list() if row.filename == "mill.txt"]
    delete_document(desk.db, desk.settings, DEFAULT_SCOPE, mill.id)
    shutil.rmtree(folder(desk), ignore_errors=True)
    expected = answers(desk)
    shutil.rmtree(folder(desk), ignore_errors=True)
    shutil.copytree(tmp_path / "old", folder(desk))
    assert answers(desk) == expected
    assert first.id in LiveIndexes(desk.db, desk.settings).follow(desk.collection_id).documents


def test_that_of_another_store_is_not_read(desk: Desk, tmp_path: Path) -> None:
    expected = answers(desk)
    other_db = Database(f"sqlite:///{tmp_path / 'other' / 'longleaf.db'}")
    from rag.store.migrate import upgrade  # noqa: PLC0415

    upgrade(other_db)
    settings = desk.settings.model_copy(update={"data_dir": tmp_path / "other"})
    other = Desk(other_db, settings)
    other.upload(b"Quite another text.")
    Worker(other.db, other.settings, other.embedder).run_until_idle()
    LiveIndexes(other.db, other.settings).follow(other.collection_id)
    shutil.rmtree(folder(desk))
    shutil.copytree(folder(other), folder(desk))
    assert answers(desk) == expected
    other_db.dispose()


@pytest.fixture(scope="module")
def coded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A stored index whose vectors are searched by codes first."""
    rng = np.random.default_rng(7)
    vectors = rng.normal(size=(6000, 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    index = CollectionIndex(kind="pq")
    for first in range(0, 6000, 1000):
        ids = np.arange(first + 1, first + 1001, dtype=np.int64)
        halves = vectors[first : first + 1000].astype(np.float16)
        index.apply([IndexedDocument(f"doc_{first}", 1, ids, halves, [f"text {i}" for i in ids])])
    assert index.vectors.in_use == "pq"
    target = tmp_path_factory.mktemp("coded") / "col_1"
    snapshot.save(target, index, ORIGIN, 6)
    return target


def test_every_kind_of_file_is_watched(coded: Path, tmp_path: Path) -> None:
    loaded = snapshot.load(coded, ORIGIN, "pq")
    assert loaded is not None
    assert loaded.vectors.in_use == "pq"
    kinds = {path.name.partition(".")[2] for path in coded.iterdir()}
    assert kinds >= {"exact", "ids", "codes", "mean", "centroids", "chunks", "json"}
    for path in sorted(coded.iterdir()):
        good = path.read_bytes()
        for content in damages(good):
            target = tmp_path / "col_1"
            shutil.rmtree(target, ignore_errors=True)
            shutil.copytree(coded, target, copy_function=_link)
            (target / path.name).unlink()
            (target / path.name).write_bytes(content)
            assert snapshot.load(target, ORIGIN, "pq") is None, path.name
        (target / path.name).unlink()
        assert snapshot.load(target, ORIGIN, "pq") is None, path.name


def _link(source: str, target: str) -> None:
    Path(target).hardlink_to(source)
