"""What ten thousand small documents cost, and whether the last thousand cost more than the first.

    python -m bench.many_documents [--documents 10000] [--step 1000] [--database sqlite]

Each document is a note of some forty words, drawn from a vocabulary by Zipf's law. They are taken in as
uploads are, read by a worker as the server's (confined process, cutting, embedding, publishing) and followed
by the index, with a search after every hundred. CPU time is that of the process and of its children (without
PostgreSQL's); it is what a busy machine changes least. Growth is the last thousand over the median of the
first three.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from bench.costs import cpu_seconds
from bench.search_latency import Texts, databases
from ingest.uploads import NewDocument, UploadSink, accept
from ingest.worker import Worker
from rag.embedders import load_embedder
from rag.index.live import LiveIndexes
from rag.retrieval import Retriever, SearchScope
from rag.settings import Settings
from rag.store.repositories import DEFAULT_SCOPE, Collections
from rag.store.session import Database

WORDS = 40
SEARCH_EVERY = 100


@dataclass(frozen=True)
class Cost:
    """Wall and CPU seconds of something."""

    wall: float
    cpu: float

    def __sub__(self, other: Cost) -> Cost:
        return Cost(self.wall - other.wall, self.cpu - other.cpu)

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.wall + other.wall, self.cpu + other.cpu)


NOTHING = Cost(0.0, 0.0)


def spent() -> Cost:
    """What was spent so far, by the readers of documents too."""
    return Cost(time.perf_counter(), cpu_seconds())


class Installation:
    """A store with the worker and the search that a server has."""

    def __init__(self, folder: Path, db: Database) -> None:
        self.settings = Settings(
            _env_file=None, data_dir=folder, database_url=db.url.render_as_string(hide_password=False)
        )
        self.db = db
        embedder = load_embedder(self.settings)
        with db.session() as session:
            self.collection = Collections(session, DEFAULT_SCOPE).create("bench", embedder.fingerprint).id
        self.indexes = LiveIndexes(db, self.settings)
        self.retriever = Retriever(db, self.indexes, embedder)
        self.worker = Worker(db, self.settings, embedder)
        self.texts = Texts()
        self.count = 0

    def upload(self, count: int) -> None:
        """Take in `count` new notes."""
        for _ in range(count):
            self.count += 1
            with UploadSink(self.settings) as sink:
                sink.write(f"Note {self.count}\n\n{self.texts.draw(WORDS)}.\n".encode())
                new = NewDocument(sink, f"note-{self.count}.txt", {"number": self.count})
                accept(self.db, self.settings, DEFAULT_SCOPE, self.collection, new)

    def read(self, count: int) -> None:
        """Read what waits."""
        ready = self.worker.run_until_idle()
        if ready != count:
            raise SystemExit(f"{ready} of {count} documents became ready")

    def search(self) -> None:
        """Ask once, with a question whose embedding is part of it."""
        scope = SearchScope(DEFAULT_SCOPE.workspace_id, self.collection)
        if not self.retriever.search(self.texts.draw(6), scope):
            raise SystemExit("a search found nothing")


def measure(house: Installation, documents: int, step: int) -> None:
    """Print a line for each `step` documents, then the growth."""
    house.upload(20)
    house.read(20)
    house.search()
    heads = f"{'upload':>14} {'read':>14} {'search + index':>16} {'documents/s':>12}"
    print(f"{'milliseconds a document':>24} {heads}")
    print(f"{'':>24} {'wall':>7}{'CPU':>7} {'wall':>7}{'CPU':>7} {'wall':>8}{'CPU':>8}")
    totals: list[Cost] = []
    for first in range(0, documents, step):
        parts = {"upload": NOTHING, "read": NOTHING, "search": NOTHING}
        for _ in range(0, step, SEARCH_EVERY):
            at = [spent()]
            house.upload(SEARCH_EVERY)
            at.append(spent())
            house.read(SEARCH_EVERY)
            at.append(spent())
            house.search()
            at.append(spent())
            for name, before, after in zip(parts, at[:-1], at[1:], strict=True):
                parts[name] += after - before
        total = parts["upload"] + parts["read"] + parts["search"]
        totals.append(total)
        upload, read, search = (Cost(p.wall / step * 1e3, p.cpu / step * 1e3) for p in parts.values())
        print(
            f"{f'{first + 1} to {first + step}':>24} {upload.wall:7.1f}{upload.cpu:7.1f} {read.wall:7.1f}"
            f"{read.cpu:7.1f} {search.wall:8.2f}{search.cpu:8.2f} {step / total.wall:12.1f}",
            flush=True,
        )
    early = totals[:3]
    wall = totals[-1].wall / statistics.median(cost.wall for cost in early) - 1
    cpu = totals[-1].cpu / statistics.median(cost.cpu for cost in early) - 1
    everything = sum(totals, NOTHING)
    print(
        f"\n{documents} documents: {documents / everything.wall:.1f} documents/s, "
        f"{everything.cpu / documents * 1e3:.1f} ms of CPU each; the last {step} beside the first: "
        f"wall {wall:+.1%}, CPU {cpu:+.1%}"
    )


def main() -> None:
    """Print the table of each database."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--documents", type=int, default=10_000)
    parser.add_argument("--step", type=int, default=1000)
    parser.add_argument("--database", default="sqlite", help="sqlite, postgres, or both with a comma")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, databases(Path(name), options.database.split(",")) as opened:
        for kind, db in opened:
            print(f"\n{kind}, {platform.processor() or platform.machine()}")
            measure(Installation(Path(name) / kind, db), options.documents, options.step)


if __name__ == "__main__":
    main()
