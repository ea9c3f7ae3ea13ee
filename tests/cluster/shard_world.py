"""A collection of real texts in shards on a cluster beside one index of the same, and what holds of both."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from api.cluster.joining import load_ray
from api.cluster.shard_laying import Laying
from api.cluster.shard_ray import Actors, RayShards
from rag.errors import Unavailable
from rag.index.live import LiveIndexes
from rag.retrieval import Looked, Retriever, SearchScope
from rag.settings import Settings
from rag.shards.gather import Gatherer
from rag.shards.placement import Shard
from rag.shards.searching import Sharding
from rag.store.repositories import DEFAULT_SCOPE, Collections, Documents
from rag.store.session import Database
from rag.store.tables import DEFAULT_WORKSPACE
from tests.ingest.ingesting import WordEmbedder
from tests.rag.filled_store import Library

DOCS = Path(__file__).parents[2] / "docs"
QUESTIONS = (
    "How is a deleted document kept out of an answer?",
    'Where does it say "nothing is downloaded"?',
    "Which settings bound the memory of a parser?",
    "LONGLEAF_KV_DISK_BYTES",
    "How does a worker lease a job, and what happens when it is killed?",
)


class World:
    """A store in PostgreSQL, its one index, and its shards."""

    def __init__(self, url: str, folder: Path, paragraphs: int = 40) -> None:
        self.ray = load_ray()
        self.db = Database(url)
        self.settings = Settings(_env_file=None, data_dir=folder, database_url=url)
        embedder = WordEmbedder()
        self.library = Library.open(self.db, embedder)
        for path in sorted(DOCS.glob("*.md")):
            parts = re.split(r"\n\s*\n", path.read_text())
            self.library.add(
                path.stem, [" ".join(part.split()) for part in parts if part.strip()][:paragraphs]
            )
        with self.db.read() as session:
            collection = Collections(session, DEFAULT_SCOPE).get(self.library.collection_id)
        self.laying = Laying(self.db, self.settings, self.ray, collection)
        self.gatherer = Gatherer(20.0)
        sharding = Sharding(self.db, RayShards(self.ray), self.gatherer)
        indexes = LiveIndexes(self.db, self.settings)
        self.one = Retriever(self.db, indexes, embedder)
        self.sharded = Retriever(self.db, indexes, embedder, sharding=sharding)
        self.scope = SearchScope(DEFAULT_WORKSPACE, self.library.collection_id)

    def look(self, question: str) -> Looked | None:
        """What the shards find; None where none of them answers, which is said too."""
        try:
            return self.sharded.look(question, self.scope, 30)
        except Unavailable as error:
            if error.code != "shards_unavailable":
                raise
            return None

    def check(self, question: str, found: Looked | None) -> str:
        """Assert the invariants of a search; return `whole`, `partial` or `refused`."""
        if found is None:
            return "refused"
        whole = self.one.search(question, self.scope, 30)
        if found.partial is None:
            assert found.candidates == whole, f"{question!r} has another ranking than in one index"
            return "whole"
        layout = self.laying.layout()
        assert layout is not None
        assert found.partial.missing, "an answer that lacks nothing must not say that it does"
        with self.db.read() as session:
            live = {row.id for row in Documents(session, DEFAULT_SCOPE).live(self.library.collection_id)}
        for candidate in found.candidates:
            assert candidate.document_id in live, f"{candidate.document_id} is deleted"
            assert candidate.text in self.text(candidate.document_id)
        return "partial"

    def text(self, document_id: str) -> str:
        """The stored text of a document."""
        with self.db.read() as session:
            return Documents(session, DEFAULT_SCOPE).text(document_id)

    def until(self, holds: Callable[[], bool], what: str, seconds: float = 120.0) -> float:
        """Wait for something; return how long it took."""
        began = time.monotonic()
        while not holds():
            assert time.monotonic() - began < seconds, f"not within {seconds} s: {what}"
            time.sleep(0.05)
        return time.monotonic() - began

    def ready(self) -> bool:
        """Whether every replica is there, and those of one shard on different nodes where there are some."""
        found = self.laying.status()
        if not found or any(each.state != "ready" for each in found):
            return False
        pairs = {(each.shard.id, each.node) for each in found}
        nodes = sum(node["Alive"] for node in self.ray.nodes())
        wanted = sum(min(len(shard.replicas), nodes) for shard in {each.shard for each in found})
        return len(pairs) == wanted

    def mended(self) -> bool:
        """Whether that is so once what was lost has been started again."""
        self.laying.ensure()
        return self.ready()

    @contextmanager
    def searching(self, threads: int = 2) -> Iterator[dict[str, int]]:
        """Search all the time, and count how searches ended. An invariant that breaks fails at the end."""
        stop, ended, wrong = threading.Event(), dict.fromkeys(("whole", "partial", "refused"), 0), []

        def search(number: int) -> None:
            while not stop.is_set():
                question = QUESTIONS[number % len(QUESTIONS)]
                number += 1
                try:
                    ended[self.check(question, self.look(question))] += 1
                except Exception as error:
                    wrong.append(error)
                    return

        running = [threading.Thread(target=search, args=(number,)) for number in range(threads)]
        for thread in running:
            thread.start()
        try:
            yield ended
        finally:
            stop.set()
            for thread in running:
                thread.join(60)
        if wrong:
            raise wrong[0]

    def start_again(self, shard: Shard, replica: int) -> None:
        """Start a replica, whether a layout has it or not."""
        collection = self.library.collection_id
        Actors(self.ray, self.settings, collection, DEFAULT_WORKSPACE).start(shard, replica, None)

    def close(self) -> None:
        """End the shards and the connections."""
        self.laying.remove()
        self.db.dispose()
