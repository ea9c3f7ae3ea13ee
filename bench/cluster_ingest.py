"""What coordination costs a bulk ingest: 1, 2 and 4 Ray nodes beside one process, all on the same cores.

    python -m bench.cluster_ingest --data DIR [--documents 600] [--nodes 1,2,4] [--repeats 3] [--cores 2]

DIR holds `cranfield/corpus.jsonl` (abstracts, a chunk or two each). The nodes share the cores, to which all
processes are bound; each computes with as many threads as its part of them, one at least. What is measured is
the steady run: from the first vectors, when actors have their models, to the last document. CPU time is that
of the command's process and of all that it and the nodes have started, Ray's own processes included. On a
machine that others use too, the CPU column is the one to read. Median of the repetitions; each takes every
configuration in turn.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import psutil
from sqlalchemy import text

from api.cluster.ingest import BulkIngest
from api.cluster.joining import load_ray
from ingest.uploads import NewDocument, UploadSink, accept
from ingest.worker import Worker
from rag.embedders import Embedder, load_embedder
from rag.settings import Settings
from rag.store.migrate import upgrade
from rag.store.repositories import DEFAULT_SCOPE, Collections
from rag.store.session import Database

STORE = 200 << 20


@dataclass(frozen=True)
class Cost:
    """Of the steady run: documents and chunks done, wall seconds, CPU seconds; and seconds before it."""

    documents: int
    chunks: int
    wall: float
    cpu: float
    start: float


def cpu_seconds() -> float:
    """CPU time so far of this process and of all that it has started, at any remove."""
    me = psutil.Process()
    total = 0.0
    for process in [me, *me.children(recursive=True)]:
        with suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            total += times.user + times.system + times.children_user + times.children_system
    return total


class House:
    """A store with documents that wait to be read."""

    def __init__(self, folder: Path, texts: list[str], embedder: Embedder) -> None:
        self.settings = Settings(_env_file=None, data_dir=folder)
        self.db = Database(self.settings.resolved_database_url)
        upgrade(self.db)
        self.embedder = embedder
        with self.db.session() as session:
            collection = Collections(session, DEFAULT_SCOPE).create("bench", embedder.fingerprint).id
        for number, words in enumerate(texts):
            with UploadSink(self.settings) as sink:
                sink.write(words.encode())
                new = NewDocument(sink, f"abstract-{number}.txt", {})
                accept(self.db, self.settings, DEFAULT_SCOPE, collection, new)

    def done(self) -> tuple[int, int]:
        """Documents that are ready, and chunks that have a vector."""
        with self.db.read() as session:
            ready = session.scalar(text("SELECT count(*) FROM documents WHERE status = 'ready'")) or 0
            return ready, session.scalar(text("SELECT count(vector) FROM chunks")) or 0

    def measured(self, count: int, read: Callable[[Callable[[], bool]], None]) -> Cost:
        """What `read` costs from the first vectors on; it asks whether it may end."""
        began = time.perf_counter()
        first: list[tuple[float, float, int, int]] = []

        def settled() -> bool:
            ready, chunks = self.done()
            if chunks and not first:
                first.append((time.perf_counter(), cpu_seconds(), ready, chunks))
            if ready >= count:
                wall, cpu, before, made = first[0]
                ends = Cost(
                    ready - before,
                    chunks - made,
                    time.perf_counter() - wall,
                    cpu_seconds() - cpu,
                    wall - began,
                )
                costs.append(ends)
                return True
            return False

        costs: list[Cost] = []
        read(settled)
        return costs[-1]


@contextmanager
def nodes(count: int, cores: int) -> Iterator[Any]:
    """Ray, joined to a cluster of so many nodes that share the cores."""
    os.environ.setdefault("RAY_raylet_start_wait_time_s", "120")
    ray = load_ray()
    from ray import cluster_utils  # noqa: PLC0415

    make: Any = cluster_utils.Cluster
    share: dict[str, Any] = {"num_cpus": max(1, cores // count), "object_store_memory": STORE}
    cluster = make(initialize_head=True, head_node_args={**share, "include_dashboard": False})
    try:
        for _ in range(count - 1):
            cluster.add_node(**share)
        cluster.wait_for_nodes()
        ray.init(address=cluster.address, log_to_driver=False)
        yield ray
    finally:
        ray.shutdown()
        cluster.shutdown()


def one_process(house: House, count: int) -> Cost:
    """A worker in this process, as `longleaf ingest` has it."""

    def read(settled: Callable[[], bool]) -> None:
        worker = Worker(house.db, house.settings, house.embedder)
        thread = threading.Thread(target=worker.run_until_idle)
        thread.start()
        while not settled():
            time.sleep(0.5)
        thread.join()

    return house.measured(count, read)


def on_cluster(house: House, count: int, number: int, cores: int) -> Cost:
    """A bulk ingest on so many nodes."""
    with nodes(number, cores) as ray:
        bulk = BulkIngest(ray, house.db, house.settings, house.embedder.fingerprint)
        return house.measured(count, bulk.run)


def show(costs: dict[str, list[Cost]]) -> None:
    """Print the table."""
    print(
        f"\n{'':14} {'documents/s':>12} {'chunks/s':>9} {'CPU ms/chunk':>13} {'overhead CPU':>13} "
        f"{'overhead wall':>14} {'s to start':>11}"
    )
    plain: tuple[float, float] | None = None
    for name, found in costs.items():
        cpu = statistics.median(cost.cpu / cost.chunks for cost in found)
        wall = statistics.median(cost.wall / cost.chunks for cost in found)
        rate = statistics.median(cost.documents / cost.wall for cost in found)
        start = statistics.median(cost.start for cost in found)
        plain = plain or (cpu, wall)
        over = (f"{cpu / plain[0] - 1:+.1%}", f"{wall / plain[1] - 1:+.1%}")
        line = f"{name:14} {rate:12.2f} {1 / wall:9.1f} {cpu * 1e3:13.2f} {over[0]:>13} {over[1]:>14}"
        print(f"{line} {start:11.1f}")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--documents", type=int, default=600)
    parser.add_argument("--nodes", default="1,2,4")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--cores", type=int, default=2)
    options = parser.parse_args()
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.cores])
    lines = (options.data / "cranfield" / "corpus.jsonl").read_text("utf-8").splitlines()
    texts = [str(json.loads(line)["text"]) for line in lines[: options.documents]]
    embedder = load_embedder(Settings(_env_file=None))
    costs: dict[str, list[Cost]] = defaultdict(list)
    for repeat in range(options.repeats):
        ways: dict[str, Callable[[House], Cost]] = {"one process": partial(one_process, count=len(texts))}
        for number in map(int, options.nodes.split(",")):
            cluster = partial(on_cluster, count=len(texts), number=number, cores=options.cores)
            ways[f"{number} node{'s' if number > 1 else ''}"] = cluster
        for name, way in ways.items():
            with tempfile.TemporaryDirectory(prefix="longleaf-bench-") as folder:
                house = House(Path(folder), texts, embedder)
                costs[name].append(way(house))
                house.db.dispose()
            print(f"repeat {repeat + 1}, {name}: {costs[name][-1]}", flush=True)
    load = os.getloadavg()[0]
    print(f"\n{len(texts)} abstracts, {options.cores} cores, load of the machine at the end {load:.1f}")
    show(costs)


if __name__ == "__main__":
    main()
