"""A replica: the index of one shard, which follows the database's log of changes as that of a whole does."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from rag.errors import LongleafError, NotFound, Unavailable
from rag.index.collection import CollectionIndex
from rag.index.hits import Part
from rag.index.live import LiveIndexes
from rag.index.question import Question, Statistics
from rag.settings import Settings
from rag.shards.placement import Shard
from rag.shards.port import Standing
from rag.store.session import Database

LOOKS = 0.5
"""Seconds between two looks at the log while nobody asks: so long a deleted text may stay in memory."""


@dataclass(frozen=True)
class Holding:
    """What a replica holds: the number of the last change in it (-1 before it is built), and how much."""

    seq: int
    documents: int
    chunks: int


class Replica:
    """One shard of one collection in this process. It is built by `follow`, and answers from then on."""

    def __init__(
        self, db: Database, settings: Settings, collection_id: str, workspace_id: str, shard: Shard
    ) -> None:
        self._indexes = LiveIndexes(db, settings, shard.holds)
        self._collection_id = collection_id
        self._workspace_id = workspace_id
        self._shard = shard

    def statistics(self, standing: Standing, question: Question) -> Statistics:
        """As `Shards.statistics`. Raises Unavailable (`shards_unavailable`), NotFound, Conflict."""
        return self._index(standing).statistics(question)

    def part(
        self,
        standing: Standing,
        question: Question,
        statistics: Statistics,
        documents: frozenset[str] | None,
    ) -> Part:
        """As `Shards.part`. Raises Unavailable (`shards_unavailable`), NotFound, Conflict."""
        return self._index(standing).part(question, statistics, documents)

    def follow(self) -> None:
        """Take in what is new; the first time this builds the index. Raises NotFound once the collection is
        deleted, having forgotten it."""
        try:
            self._indexes.follow(self._collection_id, self._workspace_id)
        except NotFound:
            self._indexes.forget(self._collection_id)
            raise

    def watch(self, stop: threading.Event) -> None:
        """Follow until `stop`, or until the collection is deleted; trouble with the database passes."""
        while not stop.is_set():
            try:
                self.follow()
            except NotFound:
                return
            except (LongleafError, OSError):
                pass
            stop.wait(LOOKS)

    def holding(self) -> Holding:
        """What is held now."""
        seq = self._indexes.sequence(self._collection_id)
        if seq < 0:
            return Holding(seq, 0, 0)
        index = self._indexes.held(self._collection_id)
        return Holding(seq, len(index.documents), len(index))

    def _index(self, standing: Standing) -> CollectionIndex:
        if self._indexes.sequence(self._collection_id) < 0:
            raise Unavailable(f"shard {self._shard.id} is still being built", code="shards_unavailable")
        return self._indexes.current(
            standing.collection_id, standing.workspace_id, standing.embedder, standing.seq
        )
