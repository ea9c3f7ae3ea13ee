"""How shards are reached: the port that a cluster, or one process in a test, fills."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass
from typing import Protocol

from rag.index.hits import Part
from rag.index.question import Question, Statistics


@dataclass(frozen=True)
class Standing:
    """What an answer must know: a collection's changes up to number `seq`, and vectors of that embedder."""

    workspace_id: str
    collection_id: str
    seq: int
    embedder: str


class Shards(Protocol):
    """Replicas by their numbers. A future fails where its replica is not there, not ready, or lost meanwhile;
    what is late is cancelled by who no longer waits, which a replica may heed."""

    def statistics(self, standing: Standing, replica: int, question: Question) -> Future[Statistics]:
        """What the replica's shard adds to the weights of the question's terms."""
        ...

    def part(
        self,
        standing: Standing,
        replica: int,
        question: Question,
        statistics: Statistics,
        documents: frozenset[str] | None,
    ) -> Future[Part]:
        """What the replica's shard has for the question, among the given documents alone if any are given."""
        ...
