"""A snapshot in a shared place saves another process the building, and never tells it anything wrong."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from ingesting import Desk, WordEmbedder

from ingest.deletion import delete_document
from ingest.worker import Worker
from rag.errors import Unavailable
from rag.index import snapshot
from rag.index.collection import CollectionIndex, IndexedDocument
from rag.index.live import LiveIndexes
from rag.index.shared import SharedSnapshots
from rag.objects.place import open_objects
from rag.objects.store import ObjectStore
from rag.settings import Settings
from rag.store.repositories import DEFAULT_SCOPE
from rag.store.session import Database
from tests.rag.s3_server import unserved

ORIGIN = snapshot.Origin("store", "col_1", "model@1")


@pytest.fixture
def objects(tmp_path: Path) -> ObjectStore:
    settings = Settings(_env_file=None, data_dir=tmp_path, objects=f"file://{tmp_path / 'objects'}")
    store = open_objects(settings)
    assert store is not None
    return store


@pytest.fixture
def shared(objects: ObjectStore) -> Iterator[SharedSnapshots]:
    one = SharedSnapshots(objects, "store")
    yield one
    one.close()


def of_words(*names: str) -> CollectionIndex:
    """An index with a document for each name."""
    index = CollectionIndex()
    add(index, *names)
    return index


def add(index: CollectionIndex, *names: str) -> None:
    for name in names:
        ids = np.arange(1, 4, dtype=np.int64) + 10 * sum(name.encode())
        vectors = np.eye(3, 8, dtype=np.float16)
        index.apply([IndexedDocument(name, 1, ids, vectors, [f"of the {name}, {i}" for i in ids])])


def here(folder: Path) -> set[str] | None:
    """The documents of the snapshot in a folder."""
    loaded = snapshot.load(folder, ORIGIN)
    return None if loaded is None else set(loaded.documents)


def never() -> bool:
    return False


def test_another_process_finds_what_one_has_sent(shared: SharedSnapshots, tmp_path: Path) -> None:
    assert not shared.fetch(tmp_path / "b", ORIGIN)
    index = of_words("heron", "mill")
    snapshot.save(tmp_path / "a", index, ORIGIN, 7)
    shared.publish(tmp_path / "a", "col_1", never).result()
    assert shared.fetch(tmp_path / "b", ORIGIN)
    assert here(tmp_path / "b") == {"heron", "mill"}
    assert not shared.fetch(tmp_path / "b", ORIGIN)  # it is there
    add(index, "lease")
    snapshot.save(tmp_path / "a", index, ORIGIN, 8)
    shared.publish(tmp_path / "a", "col_1", never).result()
    assert shared.fetch(tmp_path / "b", ORIGIN)
    assert here(tmp_path / "b") == {"heron", "mill", "lease"}


def test_an_older_one_takes_no_newer_ones_place(
    shared: SharedSnapshots, objects: ObjectStore, tmp_path: Path
) -> None:
    snapshot.save(tmp_path / "new", of_words("heron", "mill"), ORIGIN, 9)
    snapshot.save(tmp_path / "old", of_words("heron"), ORIGIN, 3)
    shared.publish(tmp_path / "new", "col_1", never).result()
    before = {found.name for found in objects.list("indexes")}
    shared.publish(tmp_path / "old", "col_1", never).result()
    assert {found.name for found in objects.list("indexes")} == before
    assert not shared.fetch(tmp_path / "new", ORIGIN)
    assert shared.fetch(tmp_path / "old", ORIGIN)
    assert here(tmp_path / "old") == {"heron", "mill"}


def test_files_that_belong_to_no_snapshot_any_more_go(
    shared: SharedSnapshots, objects: ObjectStore, tmp_path: Path
) -> None:
    for seq, names in ((1, ("heron",)), (2, ("mill", "lease"))):
        shutil.rmtree(tmp_path / "a", ignore_errors=True)
        snapshot.save(tmp_path / "a", of_words(*names), ORIGIN, seq)
        shared.publish(tmp_path / "a", "col_1", never).result()
    names = {found.name.rpartition("/")[2] for found in objects.list("indexes")}
    assert names == {path.name for path in (tmp_path / "a").iterdir()}


def test_what_was_deleted_is_in_no_file_when_purge_returns(
    shared: SharedSnapshots, objects: ObjectStore, tmp_path: Path
) -> None:
    index = of_words("heron", "mill")
    snapshot.save(tmp_path / "a", index, ORIGIN, 5)
    shared.publish(tmp_path / "a", "col_1", never).result()
    assert any(b"heron" in (objects.get(found.name) or b"") for found in objects.list("indexes"))
    index.apply([], ["heron"])
    shared.purge("col_1", index)
    assert not any(b"heron" in (objects.get(found.name) or b"") for found in objects.list("indexes"))
    assert not shared.fetch(tmp_path / "b", ORIGIN)
    shared.drop("col_1")
    assert list(objects.list("indexes")) == []


def test_what_was_deleted_while_it_was_sent_does_not_stay(
    shared: SharedSnapshots, objects: ObjectStore, tmp_path: Path
) -> None:
    snapshot.save(tmp_path / "a", of_words("heron"), ORIGIN, 5)
    shared.publish(tmp_path / "a", "col_1", lambda: True).result()
    assert list(objects.list("indexes")) == []


def test_a_damaged_or_foreign_one_is_not_used(
    shared: SharedSnapshots, objects: ObjectStore, tmp_path: Path
) -> None:
    snapshot.save(tmp_path / "a", of_words("heron", "mill"), ORIGIN, 5)
    shared.publish(tmp_path / "a", "col_1", never).result()
    for other in (
        snapshot.Origin("another", "col_1", "model@1"),
        snapshot.Origin("store", "col_2", "model@1"),
        snapshot.Origin("store", "col_1", "model@2"),
    ):
        assert not shared.fetch(tmp_path / "b", other)
    good = {found.name: objects.get(found.name) or b"" for found in objects.list("indexes")}
    for name, content in good.items():
        objects.put(name, content[: len(content) // 2])
        target = tmp_path / "b"
        shutil.rmtree(target, ignore_errors=True)
        # a part that was cut before it was stored is told by the manifest's digest, when it is loaded
        assert not shared.fetch(target, ORIGIN) or here(target) is None, name
        objects.put(name, content)
        objects.delete([name])
        shutil.rmtree(target, ignore_errors=True)
        assert not shared.fetch(target, ORIGIN), name
        objects.put(name, content)
    assert shared.fetch(tmp_path / "b", ORIGIN)


def test_a_manifest_names_no_file_outside_of_its_folder(
    shared: SharedSnapshots, objects: ObjectStore, tmp_path: Path
) -> None:
    snapshot.save(tmp_path / "a", of_words("heron"), ORIGIN, 5)
    manifest = snapshot.read_manifest(tmp_path / "a")
    for name in ("../outside", "/outside", ".hidden", ""):
        manifest["files"] = {name: "0"}
        objects.put(f"indexes/store/col_1/{snapshot.MANIFEST}", snapshot.sealed_manifest(manifest))
        assert not shared.fetch(tmp_path / "b", ORIGIN)
    assert not (tmp_path / "outside").exists()


def test_a_place_that_is_gone_costs_a_line_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    gone = open_objects(unserved(tmp_path))
    assert gone is not None
    shared = SharedSnapshots(gone, "store")
    snapshot.save(tmp_path / "a", of_words("heron"), ORIGIN, 5)
    assert not shared.fetch(tmp_path / "b", ORIGIN)
    shared.publish(tmp_path / "a", "col_1", never).result()
    assert "is not used" in caplog.text
    assert "is not shared" in caplog.text
    with pytest.raises(Unavailable):
        shared.drop("col_1")
    shared.close()


class Machine:
    """A machine of a service: a data folder of its own, the database and the shared place of all."""

    def __init__(self, desk: Desk, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.settings = desk.settings.model_copy(update={"data_dir": folder})
        self.desk = desk
        self.live = LiveIndexes(desk.db, self.settings, shared=SharedSnapshots.of(desk.db, self.settings))
        self.built: list[str] = []
        read = LiveIndexes._apply

        def watched(live: LiveIndexes, *arguments: object) -> int:
            self.built += [row.id for row in arguments[3]]  # type: ignore[attr-defined]
            return read(live, *arguments)  # type: ignore[arg-type]

        monkeypatch.setattr(LiveIndexes, "_apply", watched)

    def found(self, question: str) -> set[str]:
        """The documents with the best score by words."""
        index = self.live.follow(self.desk.collection_id)
        hits = index.search(question, WordEmbedder().embed_query(question), 20)
        of_chunk = {int(i): key for key, (_, ids) in index.documents.items() for i in ids}
        return {of_chunk[int(i)] for i, score in zip(hits.ids, hits.lexical, strict=True) if score > 0}


@pytest.fixture
def desk(database: Database, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """Two documents that are read, in a store with a shared place."""
    monkeypatch.setattr("rag.index.live.WORTH_SAVING", 1)
    desk = Desk(database, settings.model_copy(update={"objects": f"file://{tmp_path / 'objects'}"}))
    for name in ("heron", "mill"):
        desk.upload(f"The {name} of the pond. It is told of the {name} at length.".encode(), f"{name}.txt")
    Worker(desk.db, desk.settings, desk.embedder).run_until_idle()
    return desk


def test_a_second_machine_builds_nothing_and_finds_the_same(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = Machine(desk, tmp_path / "one", monkeypatch)
    [heron] = first.found("heron")
    assert first.built
    first.live.close()
    second = Machine(desk, tmp_path / "two", monkeypatch)
    assert second.found("heron") == {heron}
    assert second.built == []
    desk.upload(b"The lease of the pond.", "lease.txt")
    Worker(desk.db, desk.settings, desk.embedder).run_until_idle()
    assert len(second.found("lease")) == 1
    assert len(second.built) == 1
    second.live.close()


@pytest.mark.parametrize("by_the_server", [True, False])
def test_a_deletion_reaches_the_shared_place(
    desk: Desk, objects: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by_the_server: bool
) -> None:
    machine = Machine(desk, tmp_path / "one", monkeypatch)
    [heron] = machine.found("heron")
    if not by_the_server:
        machine.live.close()
    else:
        machine.live._shared._sender.submit(lambda: None).result()  # type: ignore[union-attr]
    assert any(heron.encode() in (objects.get(found.name) or b"") for found in objects.list("indexes"))
    on_deleted = machine.live.forget if by_the_server else None
    delete_document(desk.db, desk.settings, DEFAULT_SCOPE, heron, on_deleted)
    assert not any(heron.encode() in (objects.get(found.name) or b"") for found in objects.list("indexes"))
    other = Machine(desk, tmp_path / "two", monkeypatch)
    assert other.found("heron") == set()
    other.live.close()
