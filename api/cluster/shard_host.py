"""What an actor of a cluster holds: one replica, a way to the database, and a thread that follows it."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from rag.index.hits import Part
from rag.index.postings import kernel
from rag.index.question import Question, Statistics
from rag.index.vectors import Kind
from rag.settings import Settings
from rag.shards.placement import Shard
from rag.shards.port import Standing
from rag.shards.replica import Holding, Replica
from rag.store.session import Database, Pool


@dataclass(frozen=True)
class Store:
    """What a replica must know of the service's settings: the database, and how vectors are searched."""

    url: str
    kind: Kind
    replicas: tuple[str, ...] = ()
    pooler: bool = False


class ShardHost:
    """A replica from its start on: it is built in the background, and until then says it is not ready."""

    def __init__(self, store: Store, collection_id: str, workspace_id: str, shard: Shard) -> None:
        settings = Settings(database_url=store.url, index=store.kind)
        self._db = Database(
            store.url, pool=Pool(kept=4, extra=8, pooler=store.pooler), replicas=store.replicas
        )
        self._replica = Replica(self._db, settings, collection_id, workspace_id, shard)
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        kernel()  # which takes seconds to load: the first search must not wait for it
        self._replica.watch(threading.Event())

    def statistics(self, standing: Standing, question: Question) -> Statistics:
        """As `Replica.statistics`."""
        return self._replica.statistics(standing, question)

    def part(
        self,
        standing: Standing,
        question: Question,
        statistics: Statistics,
        documents: frozenset[str] | None,
    ) -> Part:
        """As `Replica.part`."""
        return self._replica.part(standing, question, statistics, documents)

    def where(self) -> tuple[str, Holding]:
        """The node that this runs on, and what is held."""
        import ray  # noqa: PLC0415

        return str(ray.get_runtime_context().get_node_id()), self._replica.holding()
