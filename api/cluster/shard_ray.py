"""The actors that hold replicas, found by name, started, ended, and asked."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from api.cluster.joining import NAMESPACE
from api.cluster.shard_host import ShardHost, Store
from rag.errors import LongleafError, Unavailable
from rag.index.hits import Part
from rag.index.question import Question, Statistics
from rag.settings import Settings
from rag.shards.placement import Shard
from rag.shards.port import Standing
from rag.shards.replica import Holding

KIND = "shard"
"""What names of replicas begin with."""
CALLS = 8
"""Questions that a replica works on at a time."""
_ANSWER = 5.0
"""Seconds in which a replica says where it is."""


def named(ray: Any) -> dict[str, set[int]]:
    """The replicas that the cluster has actors for, by the collection's id."""
    found: dict[str, set[int]] = {}
    for entry in ray.util.list_named_actors(all_namespaces=True):
        kind, _, rest = str(entry["name"]).partition(":")
        collection, _, replica = rest.partition(":")
        if entry["namespace"] == NAMESPACE and kind == KIND and replica.isdecimal():
            found.setdefault(collection, set()).add(int(replica))
    return found


@dataclass(frozen=True)
class Place:
    """Where a replica is, and what it holds; None while it does not say, as on its way to another node."""

    node: str | None
    holding: Holding | None

    @property
    def ready(self) -> bool:
        """Whether it answers searches."""
        return self.holding is not None and self.holding.seq >= 0


class Actors:
    """The actors of one collection's replicas; each has a name that any process can find it by."""

    def __init__(self, ray: Any, settings: Settings, collection_id: str, workspace_id: str) -> None:
        self._ray = ray
        self._store = Store(
            settings.resolved_database_url,
            settings.index,
            tuple(settings.database_replica_url.split()),
            settings.database_pooler,
        )
        self._collection_id = collection_id
        self._workspace_id = workspace_id

    def find(self, replica: int) -> Any | None:
        """The actor of a replica, None where there is none."""
        try:
            return self._ray.get_actor(_name(self._collection_id, replica), NAMESPACE)
        except ValueError:
            return None

    def start(self, shard: Shard, replica: int, node: str | None) -> Any:
        """Start a replica on a node, and be content with one that has begun already.

        It outlives who started it, and begins anew where its process is lost. With its node it is gone: left
        to Ray, it might come to stand beside another of its shard.
        """
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy  # noqa: PLC0415

        options: dict[str, Any] = {
            "name": _name(self._collection_id, replica),
            "namespace": NAMESPACE,
            "get_if_exists": True,
            "lifetime": "detached",
            "max_restarts": -1,
            "max_concurrency": CALLS,
            "num_cpus": 0,
            "scheduling_strategy": "SPREAD"
            if node is None
            else NodeAffinitySchedulingStrategy(node, soft=False),
        }
        host = self._ray.remote(ShardHost).options(**options)
        return host.remote(self._store, self._collection_id, self._workspace_id, shard)

    def end(self, replica: int) -> None:
        """End a replica, if it is there."""
        actor = self.find(replica)
        if actor is not None:
            self._ray.kill(actor)

    def places(self, replicas: set[int]) -> dict[int, Place]:
        """Where those of the replicas are that the cluster knows."""
        actors = {replica: actor for replica in replicas if (actor := self.find(replica)) is not None}
        asked = {replica: actor.where.remote() for replica, actor in actors.items()}
        if asked:
            self._ray.wait(list(asked.values()), num_returns=len(asked), timeout=_ANSWER)
        return {replica: self._place(reference) for replica, reference in asked.items()}

    def _place(self, reference: Any) -> Place:
        try:
            return Place(*self._ray.get(reference, timeout=0))
        except self._ray.exceptions.RayError:
            return Place(None, None)


class RayShards:
    """The port of shards over actors; threads may share it."""

    def __init__(self, ray: Any) -> None:
        self._ray = ray
        self._known: dict[tuple[str, int], Any] = {}
        self._lock = threading.Lock()

    def statistics(self, standing: Standing, replica: int, question: Question) -> Future[Statistics]:
        """As the port says. Raises Unavailable (`shards_unavailable`)."""
        actor = self._actor(standing, replica)
        return self._told(standing, replica, actor.statistics.remote(standing, question))

    def part(
        self,
        standing: Standing,
        replica: int,
        question: Question,
        statistics: Statistics,
        documents: frozenset[str] | None,
    ) -> Future[Part]:
        """As the port says. Raises Unavailable (`shards_unavailable`)."""
        actor = self._actor(standing, replica)
        return self._told(standing, replica, actor.part.remote(standing, question, statistics, documents))

    def _actor(self, standing: Standing, replica: int) -> Any:
        key = standing.collection_id, replica
        with self._lock:
            known = self._known.get(key)
        if known is None:
            try:
                known = self._ray.get_actor(_name(*key), NAMESPACE)
            except ValueError as error:
                raise Unavailable(
                    f"replica {replica} is not in the cluster", code="shards_unavailable"
                ) from error
            with self._lock:
                self._known[key] = known
        return known

    def _told(self, standing: Standing, replica: int, reference: Any) -> Future[Any]:
        """A future of the answer, with the errors of our own as they were raised over there."""
        told: Future[Any] = Future()

        def tell(done: Future[Any]) -> None:
            if not told.set_running_or_notify_cancel():
                return
            error = done.exception()
            if error is None:
                told.set_result(done.result())
                return
            cause = getattr(error, "cause", None)
            if isinstance(cause, LongleafError):
                told.set_exception(cause)
                return
            with self._lock:  # it may have been ended, and another one have its name
                self._known.pop((standing.collection_id, replica), None)
            told.set_exception(error)

        reference.future().add_done_callback(tell)
        return told


def _name(collection_id: str, replica: int) -> str:
    return f"{KIND}:{collection_id}:{replica}"
