"""One index beside 1, 2 and 4 shards: whether they rank alike, how long a search takes, what it carries.

    python -m bench.shards --chunks 10000
    python -m bench.shards --chunks 10000 --ray

Texts and vectors are those of `bench.search_latency`, in PostgreSQL; questions are sentences of twelve words
with a quoted phrase in every fourth. `same` is the share of questions whose results are those of one index to
the bit: every chunk of both legs, their order, all scores, the background. Shards are in threads of this
process, or with `--ray` in actors of a cluster of two nodes that is started on this machine. Bytes are of
questions, statistics and parts as Python pickles them, all shards of one search together.
"""

from __future__ import annotations

import argparse
import pickle
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from bench.search_latency import COLLECTION, PER_DOCUMENT, Store, Texts, databases
from rag.embedders import load_embedder
from rag.index.hits import Hits, Part
from rag.index.live import LiveIndexes
from rag.index.question import Floats, Question, Statistics
from rag.retrieval import DEPTH
from rag.settings import Settings
from rag.shards.local import LocalShards
from rag.shards.placement import Layout
from rag.shards.port import Shards, Standing
from rag.shards.replica import Replica
from rag.shards.searching import Sharding
from rag.store.records import CollectionRow
from rag.store.repositories import DEFAULT_SCOPE, Collections, Layouts
from rag.store.session import Database

SHARDS = (1, 2, 4)


class Searchable(Protocol):
    """One index, or shards."""

    def search(self, text: str, vector: Floats, k: int, *, phrases: Sequence[str] = ()) -> Hits: ...


class Weighed:
    """A port that weighs what goes through it, while it is asked to."""

    def __init__(self, shards: Shards) -> None:
        self._shards = shards
        self.weighs = False
        self.bytes = 0

    def statistics(self, standing: Standing, replica: int, question: Question) -> Future[Statistics]:
        """As the port says."""
        return self._weighed(self._shards.statistics(standing, replica, question), standing, question)

    def part(
        self,
        standing: Standing,
        replica: int,
        question: Question,
        statistics: Statistics,
        documents: frozenset[str] | None,
    ) -> Future[Part]:
        """As the port says."""
        told = self._shards.part(standing, replica, question, statistics, documents)
        return self._weighed(told, standing, question, statistics, documents)

    def _weighed(self, told: Future[Any], *asked: object) -> Future[Any]:
        if self.weighs:
            self.bytes += len(pickle.dumps(asked)) + len(pickle.dumps(told.result()))
        return told


def alike(left: Hits, right: Hits) -> bool:
    """Tell whether two searches found the same, to the bit."""
    return all(
        [each.tobytes() for each in mine] == [each.tobytes() for each in vars(right)[name]]
        if name == "held"
        else mine.tobytes() == vars(right)[name].tobytes()
        if isinstance(mine, np.ndarray)
        else mine == vars(right)[name]
        for name, mine in vars(left).items()
    )


@contextmanager
def local(db: Database, settings: Settings, row: CollectionRow, shards: int) -> Iterator[Shards]:
    """Shards in threads of this process."""
    layout = Layout.even(shards, 1, _layout(db, row))
    replicas = {
        shard.replicas[0]: Replica(db, settings, row.id, row.workspace_id, shard) for shard in layout.shards
    }
    for replica in replicas.values():
        replica.follow()
    with db.session() as session:
        Layouts(session, DEFAULT_SCOPE).put(row.id, layout)
    port = LocalShards(replicas)
    try:
        yield port
    finally:
        port.close()


@contextmanager
def on_ray(db: Database, settings: Settings, row: CollectionRow, shards: int) -> Iterator[Shards]:
    """Shards in actors of the cluster that this process has joined."""
    from api.cluster.joining import load_ray  # noqa: PLC0415
    from api.cluster.shard_laying import Laying  # noqa: PLC0415
    from api.cluster.shard_ray import RayShards  # noqa: PLC0415

    laying = Laying(db, settings, load_ray(), row)
    laying.lay(shards, 1)
    yield RayShards(load_ray())


def _layout(db: Database, row: CollectionRow) -> Layout | None:
    with db.read() as session:
        return Layouts(session, DEFAULT_SCOPE).find(row.id)


def measure(store: Store, settings: Settings, options: argparse.Namespace) -> None:
    """Fill the store and print the table."""
    for number in range(-(-options.chunks // PER_DOCUMENT)):
        store.publish(f"Document {number}", number)
    with store.db.read() as session:
        row = Collections(session, DEFAULT_SCOPE).get(store.collection)
    rng = np.random.default_rng(1)
    asked: list[tuple[str, Floats, list[str]]] = []
    for number in range(options.questions):
        text, vector = store.texts.draw(12), rng.normal(size=store.embedder.dimension)
        phrases = [" ".join(text.split()[2:5])] if number % 4 == 0 else []
        asked.append((text, (vector / np.linalg.norm(vector)).astype(np.float32), phrases))
    one = LiveIndexes(store.db, settings).follow(store.collection)

    def ask(index: Searchable) -> tuple[list[Hits], float]:
        found, took = [], []
        for text, vector, phrases in asked:
            began = time.perf_counter()
            found.append(index.search(text, vector, DEPTH, phrases=phrases))
            took.append((time.perf_counter() - began) * 1000)
        return found, statistics.median(took)

    ask(one)
    expected, took = ask(one)
    print(f"{'':24} {'same':>6} {'median ms':>10} {'kB a search':>12}")
    print(f"{'one index':24} {'':>6} {took:10.1f} {'':>12}")
    ways: list[tuple[str, Callable[..., Any]]] = [("threads", local)]
    if options.ray:
        ways.append(("Ray", on_ray))
    for name, lay in ways:
        for shards in SHARDS:
            with lay(store.db, settings, row, shards) as port:
                weighed = Weighed(port)
                sharded = Sharding(store.db, weighed).find(
                    DEFAULT_SCOPE, store.collection, store.embedder.fingerprint
                )
                if sharded is None:
                    raise SystemExit("the layout was not kept")
                ask(sharded)
                found, took = ask(sharded)
                weighed.weighs = True
                ask(sharded)
                same = statistics.mean(map(alike, found, expected))
                label = f"{shards} shard{'s' * (shards > 1)}, {name}"
                kilobytes = weighed.bytes / len(asked) / 1000
                print(f"{label:24} {same:6.3f} {took:10.1f} {kilobytes:12.1f}", flush=True)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--chunks", type=int, default=10_000)
    parser.add_argument("--questions", type=int, default=100)
    parser.add_argument("--ray", action="store_true", help="over a cluster of two nodes as well")
    options = parser.parse_args()
    embedder = load_embedder(Settings())
    machine = platform.processor() or platform.machine()
    print(f"{options.chunks} chunks, {options.questions} questions, {machine}")
    with tempfile.TemporaryDirectory() as name, databases(Path(name), ["postgres"]) as [(_, db)]:
        with db.session() as session:
            collection = Collections(session, DEFAULT_SCOPE).ensure(COLLECTION, embedder.fingerprint).id
        url = db.url.render_as_string(hide_password=False)
        settings = Settings(data_dir=Path(name) / "data", database_url=url)
        store = Store(db, embedder, Texts(), collection)
        if not options.ray:
            measure(store, settings, options)
            return
        nodes = import_module("tests.cluster.ray_nodes").Nodes(2)
        try:
            measure(store, settings, options)
        finally:
            nodes.close()


if __name__ == "__main__":
    main()
