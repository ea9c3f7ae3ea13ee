"""Shards in this very process, each call in a thread: what a cluster does, without one."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor

from rag.errors import Unavailable
from rag.index.hits import Part
from rag.index.question import Question, Statistics
from rag.shards.port import Standing
from rag.shards.replica import Replica


class LocalShards:
    """Replicas by their numbers; whoever holds `replicas` may put some in and take some out at any time."""

    def __init__(self, replicas: Mapping[int, Replica], threads: int = 8) -> None:
        self._replicas = replicas
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="shard")

    def statistics(self, standing: Standing, replica: int, question: Question) -> Future[Statistics]:
        """As the port says. Raises Unavailable (`shards_unavailable`)."""
        return self._pool.submit(self._replica(replica).statistics, standing, question)

    def part(
        self,
        standing: Standing,
        replica: int,
        question: Question,
        statistics: Statistics,
        documents: frozenset[str] | None,
    ) -> Future[Part]:
        """As the port says. Raises Unavailable (`shards_unavailable`)."""
        return self._pool.submit(self._replica(replica).part, standing, question, statistics, documents)

    def close(self) -> None:
        """End the threads."""
        self._pool.shutdown(cancel_futures=True)

    def _replica(self, number: int) -> Replica:
        found = self._replicas.get(number)
        if found is None:
            raise Unavailable(f"there is no replica {number}", code="shards_unavailable")
        return found
