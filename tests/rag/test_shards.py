"""Collections in shards: the ranking of one index, late and lost replicas, what is said of missing parts."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import pytest
from filled_store import Library
from hypothesis import given
from hypothesis import strategies as st

from rag.embedders import Embedder
from rag.errors import Conflict, InvalidRequest, NotFound, Unavailable
from rag.index.hits import Partial
from rag.index.live import LiveIndexes
from rag.retrieval import Retriever, SearchScope
from rag.settings import Settings
from rag.shards.gather import Gatherer
from rag.shards.latency import FIRST_WAIT, REST, Latencies
from rag.shards.local import LocalShards
from rag.shards.placement import SLOTS, Layout, Shard, slot_of
from rag.shards.replica import Replica
from rag.shards.searching import Sharding
from rag.store.repositories import DEFAULT_SCOPE, Collections, Layouts
from rag.store.session import Database
from rag.store.tables import DEFAULT_WORKSPACE
from tests.ingest.ingesting import WordEmbedder

TOPICS = ["river", "engine", "harbour", "island", "treaty", "orchid", "comet", "violin"]


# -- placement


def test_a_document_has_the_same_slot_in_every_version() -> None:
    assert [slot_of(each) for each in ("doc_1", "doc_2", "x")] == [794, 918, 79]
    counts = np.bincount([slot_of(f"doc_{number}") for number in range(100_000)], minlength=SLOTS)
    assert counts.min() > 50
    assert counts.max() < 160


@given(
    st.integers(1, 9),
    st.integers(1, 3),
    st.lists(st.tuples(st.sampled_from(["split", "move", "replicate"]), st.integers(0, 40)), max_size=6),
)
def test_layouts_tile_the_slots_whatever_happens_to_them(
    shards: int, replicas: int, operations: list[tuple[str, int]]
) -> None:
    layout = Layout.even(shards, replicas)
    ever = layout.replicas()
    for operation, number in operations:
        shard = layout.shards[number % len(layout.shards)]
        if operation == "split":
            after = layout.split(shard.id)
        elif operation == "move":
            after = layout.moved(shard.id, shard.replicas[number % len(shard.replicas)])
        else:
            after = layout.replicated(1 + number % 3)
        assert after.version == layout.version + 1
        assert not (after.replicas() - layout.replicas()) & ever, "a number was used again"
        ever |= after.replicas()
        layout = Layout.of_json(after.version, after.as_json())
        assert layout == after
    documents = [f"doc_{number}" for number in range(50)]
    divided = layout.divided(documents)
    assert sorted(document for own in divided.values() for document in own) == sorted(documents)
    for document in documents:
        assert document in divided[layout.of(document).id]
        assert [each for each in layout.shards if each.holds(document)] == [layout.of(document)]


def test_what_no_layout_can_be_is_refused() -> None:
    for shards, replicas in ((0, 1), (SLOTS + 1, 1), (2, 0), (2, 99)):
        with pytest.raises(InvalidRequest, match="not"):
            Layout.even(shards, replicas)
    layout = Layout.even(2, 1)
    with pytest.raises(InvalidRequest, match="there is no shard 9"):
        layout.split(9)
    with pytest.raises(InvalidRequest, match="no replica 9"):
        layout.moved(layout.shards[0].id, 9)
    with pytest.raises(InvalidRequest, match="one slot"):
        Layout.even(SLOTS, 1).split(0)
    with pytest.raises(ValueError, match="tile"):
        Layout.of_json(1, {"next": 4, "shards": [[0, 0, 10, [1]]]})


# -- scatter and gather


class Slow:
    """Replicas that answer with their number after so many seconds, fail, or never answer."""

    def __init__(self, **seconds: float | Exception | None) -> None:
        self.seconds = {int(name.removeprefix("r")): each for name, each in seconds.items()}
        self.asked: list[int] = []
        self.cancelled: list[int] = []
        self._pool = ThreadPoolExecutor(16)

    def ask(self, _: Shard, replica: int) -> Future[int]:
        self.asked.append(replica)
        does = self.seconds[replica]
        future: Future[int] = Future()
        if isinstance(does, Unavailable):
            raise does
        if isinstance(does, Exception):
            future.set_exception(does)
        elif does is not None:
            self._pool.submit(lambda: (time.sleep(does), future.cancelled() or future.set_result(replica)))
        future.add_done_callback(lambda each: self.cancelled.append(replica) if each.cancelled() else None)
        return future


def _shard(number: int, *replicas: int) -> Shard:
    return Shard(number, 0, SLOTS, replicas)


def test_the_first_answer_of_each_shard_counts() -> None:
    slow = Slow(r1=0.0, r2=0.0)
    assert Gatherer().gather([_shard(7, 1), _shard(8, 2)], "x", slow.ask) == {7: 1, 8: 2}
    assert slow.cancelled == []


def test_a_late_replica_is_overtaken_by_another_and_not_asked_first_for_long() -> None:
    latencies, slow = Latencies(), Slow(r1=None, r2=0.0)
    gatherer = Gatherer(5.0, latencies)
    for _ in range(20):
        latencies.took(("x", 1), 0.01)
        latencies.took(("x", 2), 1.0)
    began = time.monotonic()
    for _ in range(4):
        assert gatherer.gather([_shard(7, 1, 2)], "x", slow.ask) == {7: 2}
    assert time.monotonic() - began < 4, "the late one was waited for"
    assert gatherer.hedged == 2, "each of the two is asked first in turn"
    assert slow.cancelled == [1, 1]
    # what is always overtaken is known as slow by the time that it was given
    assert latencies.wait(("x", 1)) >= 0.01


def test_a_failed_replica_is_followed_at_once_and_rests() -> None:
    now = [0.0]
    latencies = Latencies(lambda: now[0])
    for failure in (RuntimeError("lost"), Unavailable("not ready")):
        slow = Slow(r1=failure, r2=0.0)
        gatherer = Gatherer(5.0, latencies)
        for _ in range(20):
            latencies.took(("x", 2), 1.0)  # a busy machine does not make it late
        for _ in range(3):
            assert gatherer.gather([_shard(7, 1, 2)], "x", slow.ask) == {7: 2}
        assert slow.asked.count(1) == 1, "it was asked again before it had rested"
        assert gatherer.hedged == 0
        now[0] += 2 * REST
        gatherer.gather([_shard(7, 1, 2)], "x", slow.ask)
        gatherer.gather([_shard(7, 1, 2)], "x", slow.ask)
        assert slow.asked.count(1) == 2
        now[0] += 2 * REST


def test_a_shard_of_which_nobody_answers_is_missing_and_the_others_are_there() -> None:
    slow = Slow(r1=RuntimeError("lost"), r2=RuntimeError("lost"), r3=0.0, r4=None)
    found = Gatherer(0.3).gather([_shard(7, 1, 2), _shard(8, 3), _shard(9, 4)], "x", slow.ask)
    assert found == {8: 3}
    assert slow.cancelled == [4]


def test_a_question_that_no_replica_can_answer_is_an_error() -> None:
    slow = Slow(r1=Conflict("another embedder"), r2=0.0, r3=None)
    with pytest.raises(Conflict, match="another embedder"):
        Gatherer().gather([_shard(7, 1), _shard(8, 3)], "x", slow.ask)
    assert slow.cancelled == [3]


def test_a_wait_is_what_most_answers_took() -> None:
    latencies = Latencies()
    assert latencies.wait(1) == FIRST_WAIT
    for number in range(100):
        latencies.took(1, 0.010 if number < 96 else 0.9)
    assert latencies.wait(1) == 0.010
    assert [latencies.order((1, 2, 3), int)[0] for _ in range(6)] == [1, 2, 3, 1, 2, 3]


# -- a store in shards


class Farm:
    """All replicas of a collection in this process, put up and taken down as a layout says."""

    def __init__(self, db: Database, settings: Settings, library: Library) -> None:
        self.db, self.settings, self.library = db, settings, library
        self.replicas: dict[int, Replica] = {}
        self.shards = LocalShards(self.replicas)

    def lay(self, layout: Layout) -> None:
        """Build what the layout needs, switch, and drop what it has no more."""
        for shard in layout.shards:
            for number in set(shard.replicas) - set(self.replicas):
                made = Replica(self.db, self.settings, self.library.collection_id, DEFAULT_WORKSPACE, shard)
                made.follow()
                self.replicas[number] = made
        with self.db.session() as session:
            Layouts(session, DEFAULT_SCOPE).put(self.library.collection_id, layout)
        for number in set(self.replicas) - layout.replicas():
            del self.replicas[number]


@pytest.fixture(scope="module")
def embedder() -> Embedder:
    """Hashed words, which cost nothing."""
    return WordEmbedder()


@pytest.fixture
def library(database: Database, embedder: Embedder) -> Library:
    return Library.open(database, embedder)


@pytest.fixture
def farm(database: Database, settings: Settings, library: Library) -> Iterator[Farm]:
    made = Farm(database, settings, library)
    yield made
    made.shards.close()


@pytest.fixture
def one(database: Database, settings: Settings, embedder: Embedder) -> Retriever:
    return Retriever(database, LiveIndexes(database, settings), embedder)


@pytest.fixture
def sharded(farm: Farm, settings: Settings, embedder: Embedder) -> Retriever:
    sharding = Sharding(farm.db, farm.shards, Gatherer(2.0))
    return Retriever(farm.db, LiveIndexes(farm.db, settings), embedder, sharding=sharding)


def _fill(library: Library, count: int = 16) -> list[str]:
    return [
        library.add(
            f"{TOPICS[number % 8].title()} {number}",
            [
                f"The {TOPICS[number % 8]} number {number} lies near the {TOPICS[number * 3 % 8]}.",
                f"In {1700 + number} somebody saw the old {TOPICS[number * 5 % 8]} for the first time.",
            ],
            year=1700 + number,
        )
        for number in range(count)
    ]


def _asked(collection_id: str) -> list[tuple[str, SearchScope]]:
    scope = SearchScope(DEFAULT_WORKSPACE, collection_id)
    return [
        ("Where does the river number 8 lie?", scope),
        ('Who wrote of "the old violin for the first time"?', scope),
        ("comet 1706", scope),
    ]


def test_shards_answer_as_one_index_through_every_change(
    library: Library, farm: Farm, one: Retriever, sharded: Retriever
) -> None:
    documents = _fill(library)
    asked = _asked(library.collection_id)
    some = frozenset(documents[::3])
    asked.append((asked[0][0], SearchScope(DEFAULT_WORKSPACE, library.collection_id, some)))

    def agree() -> None:
        for question, scope in asked:
            found = sharded.look(question, scope, 20)
            assert found.partial is None
            assert found.candidates == one.search(question, scope, 20)
            assert found.candidates

    agree()  # without a layout it is one index
    layout = Layout.even(1, 1)
    farm.lay(layout)
    agree()
    layout = layout.replicated(2)
    farm.lay(layout)
    agree()
    for _ in range(2):
        layout = layout.split(layout.shards[0].id)
        farm.lay(layout)
        agree()
    library.delete(documents[0])
    library.publish(documents[3], 2, "Island renamed", "The island number 3 was renamed.")
    library.add("Late", ["The river number 99 was found late."])
    agree()
    layout = layout.moved(layout.shards[1].id, layout.shards[1].replicas[0])
    farm.lay(layout)
    agree()
    with pytest.raises(Conflict, match="somebody else"):
        farm.lay(layout)
    held = [replica.holding() for replica in farm.replicas.values()]
    assert sum(each.documents for each in held) == 2 * 16


def test_what_is_missing_is_said_and_what_is_there_is_found(
    library: Library, farm: Farm, one: Retriever, sharded: Retriever
) -> None:
    _fill(library)
    layout = Layout.even(4, 2)
    farm.lay(layout)
    question, scope = _asked(library.collection_id)[0]
    whole = one.search(question, scope, 40)
    lost = layout.shards[2]
    del farm.replicas[lost.replicas[0]]
    assert sharded.look(question, scope, 40).candidates == whole, "another replica answers"
    gone = farm.replicas.pop(lost.replicas[1])
    found = sharded.look(question, scope, 40)
    assert found.partial == Partial(4, (lost.id,))
    there = [each.chunk_id for each in whole if layout.of(each.document_id) != lost]
    assert sorted(each.chunk_id for each in found.candidates) == sorted(there)
    farm.replicas[lost.replicas[1]] = gone
    assert sharded.look(question, scope, 40).candidates == whole
    farm.replicas.clear()
    with pytest.raises(Unavailable, match="none of the 4 shards"):
        sharded.look(question, scope, 40)


def test_a_search_goes_on_while_shards_split(
    library: Library, farm: Farm, one: Retriever, sharded: Retriever
) -> None:
    _fill(library)
    layout = Layout.even(1, 1)
    farm.lay(layout)
    question, scope = _asked(library.collection_id)[0]
    whole, wrong, stop = one.search(question, scope, 40), list[object](), threading.Event()

    def search() -> None:
        while not stop.is_set():
            found = sharded.look(question, scope, 40)
            if found.partial is not None or found.candidates != whole:
                wrong.append(found)

    threads = [threading.Thread(target=search) for _ in range(2)]
    for thread in threads:
        thread.start()
    for _ in range(6):
        layout = layout.split(max(layout.shards, key=lambda each: each.end - each.first).id)
        farm.lay(layout)
    stop.set()
    for thread in threads:
        thread.join(60)
    assert wrong == []


def test_a_replica_forgets_what_is_deleted_while_nobody_asks(
    library: Library, farm: Farm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rag.shards.replica.LOOKS", 0.02)
    documents = _fill(library, 3)
    [shard] = Layout.even(1, 1).shards
    replica = Replica(farm.db, farm.settings, library.collection_id, DEFAULT_WORKSPACE, shard)
    stop = threading.Event()
    thread = threading.Thread(target=replica.watch, args=(stop,))
    thread.start()
    _until(lambda: replica.holding().documents == 3)
    library.delete(documents[1])
    _until(lambda: replica.holding().documents == 2)
    for document in (documents[0], documents[2]):
        library.delete(document)
    with farm.db.session() as session:
        Collections(session, DEFAULT_SCOPE).delete(library.collection_id)
    thread.join(30)
    assert not thread.is_alive(), "the collection is gone, and so is what watches it"
    assert replica.holding().chunks == 0
    with pytest.raises(NotFound):
        replica.follow()
    assert not (farm.settings.data_dir / "index").exists(), "shards are never on disk"


def _until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.01)
