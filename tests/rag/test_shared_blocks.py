"""What one engine has read another finds; and no block outlives the purge of one of its tags."""

from __future__ import annotations

import hashlib
import itertools
import os
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
from s3_server import S3Server, serving, unserved

from model.kv.block_bytes import pack
from model.kv.tiers import Tiers
from rag.objects.blocks import SharedBlocks
from rag.objects.keys import SealKeys
from rag.objects.place import open_objects
from rag.objects.store import ObjectStore
from rag.settings import Settings

MODEL, OTHER = hashlib.sha256(b"model").digest(), hashlib.sha256(b"other").digest()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with serving(tmp_path_factory.mktemp("s3")) as started:
        yield started


@pytest.fixture(params=["folder", "encrypted bucket"])
def objects(request: pytest.FixtureRequest, server: S3Server, tmp_path: Path) -> Iterator[ObjectStore]:
    if request.param == "folder":
        settings = Settings(_env_file=None, data_dir=tmp_path, objects=f"file://{tmp_path / 'objects'}")
    else:
        settings = server.settings(tmp_path)
    store = open_objects(settings)
    assert store is not None
    if request.param != "folder":
        store._keys = SealKeys((os.urandom(32),))
    yield store
    for under in ("kv", "kv-tags"):  # by the server, which remembers what its folders hold
        store.purge(under)


@pytest.fixture
def folder(tmp_path: Path) -> ObjectStore:
    store = open_objects(
        Settings(_env_file=None, data_dir=tmp_path, objects=f"file://{tmp_path / 'objects'}")
    )
    assert store is not None
    return store


@pytest.fixture
def engine(objects: ObjectStore) -> Iterator[Callable[..., Tiers]]:
    """Makes the tiers of engines that share a place and nothing else."""
    made: list[Tiers] = []

    def make(fingerprint: bytes = MODEL, limit: int = 0) -> Tiers:
        made.append(Tiers(1 << 20, None, 0, fingerprint, place=SharedBlocks(objects, "store", limit)))
        return made[-1]

    yield make
    for each in made:
        each.close()


def key(number: int) -> bytes:
    return hashlib.sha256(number.to_bytes(4, "little")).digest()


def block(number: int) -> torch.Tensor:
    return torch.full((2, 2, 8, 1, 4), float(number), dtype=torch.bfloat16)


def lying(objects: ObjectStore) -> list[str]:
    return sorted(found.name for under in ("kv", "kv-tags") for found in objects.list(under))


def send(tiers: Tiers, number: int, *tags: str) -> None:
    tiers.put(key(number), block(number), tags)
    assert tiers.flush(30)


def test_another_engine_finds_what_one_has_read(engine: Callable[..., Tiers]) -> None:
    one, two, foreign = engine(), engine(), engine(OTHER)
    for number in range(6):
        send(one, number, "doc_a")
    keys = [key(number) for number in range(7)]
    two.prefetch(keys)
    for number in range(6):
        found = two.get(keys[number])
        assert found is not None
        assert torch.equal(found, block(number))
    assert two.get(keys[6]) is None
    assert foreign.get(keys[0]) is None
    shared = two.stats().shared
    assert shared is not None
    assert (shared.hits, shared.misses) == (6, 1)


def test_a_purge_finds_blocks_by_any_of_their_tags_without_an_engine(
    engine: Callable[..., Tiers], objects: ObjectStore
) -> None:
    one, two = engine(), engine()
    send(one, 1, "doc_a")
    send(one, 2, "doc_b")
    send(one, 3)
    assert two.get(key(1)) is not None
    two.tag(key(1), ["doc_c"])  # the same text stands in another document
    assert two.flush(30)
    keeper = SharedBlocks(objects, "store")
    assert keeper.purge(["doc_c", "doc_none"]) == 1
    three = engine()
    assert three.get(key(1)) is None
    assert three.get(key(2)) is not None
    assert three.get(key(3)) is not None
    assert keeper.purge(["doc_a", "doc_b"]) == 2
    assert not any("doc_" in name for name in lying(objects))
    assert SharedBlocks(objects, "another store").kept().blocks == {}


def test_an_engine_takes_back_what_it_was_sending(engine: Callable[..., Tiers], objects: ObjectStore) -> None:
    one = engine()
    send(one, 1, "doc_a")
    began = one.purges
    one.purge("doc_a")
    assert not one.put(key(2), block(2), ["doc_a"], since=began)
    assert one.flush(30)
    assert SharedBlocks(objects, "store").kept().blocks == {}


def test_a_damaged_or_another_block_is_a_miss(engine: Callable[..., Tiers], objects: ObjectStore) -> None:
    send(engine(), 1, "doc_a")
    (name,) = (found.name for found in objects.list("kv"))
    content = pack(key(1), MODEL, block(1))
    for wrong in (b"", content[:-1], pack(key(2), MODEL, block(1)), pack(key(1), OTHER, block(1))):
        objects.put(name, wrong)
        assert engine().get(key(1)) is None
    objects.put(name, content[:-40] + bytes(8) + content[-32:])
    assert engine().get(key(1)) is None
    objects.put(name, content)
    assert engine().get(key(1)) is not None


def test_the_oldest_go_beyond_the_limit(engine: Callable[..., Tiers], objects: ObjectStore) -> None:
    size = len(pack(key(1), MODEL, block(1))) + 100
    one = engine(limit=8 * size)
    for number in range(20):
        send(one, number, "doc_a")
    kept = SharedBlocks(objects, "store").kept()
    assert 4 * size < kept.bytes <= 8 * size
    assert set(kept.tags) == set(kept.blocks)
    assert engine().get(key(19)) is not None


def test_what_a_crash_left_is_named(
    engine: Callable[..., Tiers], objects: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, keeper = engine(), SharedBlocks(objects, "store")
    for number, tags in enumerate((["doc_a"], ["doc_a", "doc_gone"], [], ["doc_a"], ["doc_a"])):
        send(one, number, *tags)
    kept = keeper.kept()
    names = {number: keeper._name(MODEL, key(number)) for number in range(5)}
    objects.delete([kept.tags[names[3]]["doc_a"].name, kept.blocks[names[4]].name])

    def strays() -> set[str]:
        return {found.name for found in keeper.strays(keeper.kept(), {"doc_a"})}

    gone = {kept.blocks[names[1]].name, *(found.name for found in kept.tags[names[1]].values())}
    assert strays() == gone
    monkeypatch.setattr("rag.objects.blocks.GRACE", timedelta(seconds=-60))
    assert strays() == gone | {kept.blocks[names[3]].name, kept.tags[names[4]]["doc_a"].name}


def test_a_place_that_does_not_answer_costs_a_line_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    gone = open_objects(unserved(tmp_path))
    assert gone is not None
    tiers = Tiers(1 << 20, None, 0, MODEL, place=SharedBlocks(gone, "store"))
    assert tiers.put(key(1), block(1), ["doc_a"])
    assert tiers.flush(60)
    assert tiers.get(key(1)) is not None  # from memory
    assert tiers.get(key(2)) is None
    tiers.purge("doc_a")
    stats = tiers.stats().shared
    assert stats is not None
    assert stats.problem
    assert stats.dropped == 1
    assert "left alone" in caplog.text
    tiers.close()


class Turns:
    """The operations of two programs on a store, in an order that is given."""

    def __init__(self, objects: ObjectStore, order: tuple[str, ...]) -> None:
        self._objects, self._order = objects, list(order)
        self._changed = threading.Condition()
        self.log: list[tuple[str, str]] = []
        self.left = 2

    def of(self, name: str) -> Any:
        turns = self

        class Store:
            def __getattr__(self, method: str) -> Any:
                real = getattr(turns._objects, method)
                if method == "veils":
                    return real
                return lambda *arguments: turns._do(name, method, lambda: real(*arguments))

        return Store()

    def _do(self, name: str, method: str, work: Callable[[], Any]) -> Any:
        with self._changed:
            self._changed.wait_for(lambda: not self._order or self._order[0] == name)
            self.log.append((name, method))
            done = work()
            done = list(done) if method == "list" else done
            if self._order:
                self._order.pop(0)
            self._changed.notify_all()
            return done

    def ended(self, name: str) -> None:
        with self._changed:
            self._order = [other for other in self._order if other != name]
            self._changed.notify_all()


ORDERS = sorted(set(itertools.permutations("wwwwpppp")))


@pytest.mark.parametrize("order", ORDERS[::3])
def test_no_order_of_a_write_and_a_purge_leaves_the_block(
    folder: ObjectStore, order: tuple[str, ...]
) -> None:
    turns = Turns(folder, order)
    content = pack(key(1), MODEL, block(1))
    writer, purger = (SharedBlocks(turns.of(name), "store") for name in "wp")
    kept: list[bool] = []

    def run(name: str, work: Callable[[], object]) -> None:
        try:
            work()
        finally:
            turns.ended(name)

    threads = [
        threading.Thread(
            target=run, args=("w", lambda: kept.append(writer.put(MODEL, key(1), content, ["doc_a"])))
        ),
        threading.Thread(target=run, args=("p", lambda: purger._purge("doc_a"))),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    marked = turns.log.index(("w", "put")) < turns.log.index(("p", "list"))
    found = folder.size(writer._block(writer._name(MODEL, key(1)))) is not None
    assert kept == [True] or not found
    assert not (marked and found)  # a purge that comes later finds it
    assert bool(list(folder.list("kv-tags"))) == found
