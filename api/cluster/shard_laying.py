"""Laying a collection out over a cluster: shards are built beside those in use, and the layout is switched
when they are ready."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from api.cluster.shard_ray import Actors, Place, named
from rag.errors import InvalidRequest, Unavailable
from rag.settings import Settings
from rag.shards.placement import Layout, Shard
from rag.shards.replica import Holding
from rag.store.records import CollectionRow
from rag.store.repositories import Layouts
from rag.store.scope import Scope
from rag.store.session import Database

BUILDING = 3600.0
"""Seconds that a new shard may take to be built."""
GRACE = 2.0
"""Seconds in which what is no longer in the layout still answers searches that began before."""
_LOOK = 0.1


@dataclass(frozen=True)
class ReplicaStatus:
    """One replica as it is now; `state` is `ready`, `building` or `lost`."""

    shard: Shard
    replica: int
    state: str
    node: str | None
    holding: Holding | None


class Laying:
    """Operations on the shards of one collection. Each is one step from a layout to the next."""

    def __init__(self, db: Database, settings: Settings, ray: Any, collection: CollectionRow) -> None:
        self._db = db
        self._ray = ray
        self._scope = Scope(collection.workspace_id)
        self._collection = collection
        self._actors = Actors(ray, settings, collection.id, collection.workspace_id)

    def layout(self) -> Layout | None:
        """How the collection is laid out now."""
        with self._db.read() as session:
            return Layouts(session, self._scope).find(self._collection.id)

    def lay(self, shards: int, replicas: int) -> Layout:
        """Cut the collection into shards of one size. Raises InvalidRequest, Unavailable, Conflict."""
        return self._change(lambda before: Layout.even(shards, replicas, before))

    def split(self, shard: int) -> Layout:
        """Cut one shard into two. Raises InvalidRequest, Unavailable, Conflict."""
        return self._change(lambda _: self._present().split(shard))

    def move(self, shard: int, replica: int, node: str | None = None) -> Layout:
        """Put a new replica, on that node or where there is most room, in place of one.

        Raises InvalidRequest, Unavailable, Conflict.
        """
        return self._change(lambda _: self._present().moved(shard, replica), node)

    def replicate(self, replicas: int) -> Layout:
        """Let every shard have so many replicas. Raises InvalidRequest, Unavailable, Conflict."""
        return self._change(lambda _: self._present().replicated(replicas))

    def remove(self) -> None:
        """Let the collection be searched as a whole again, and end its replicas."""
        layout = self.layout()
        if layout is None:
            return
        with self._db.session() as session:
            Layouts(session, self._scope).remove(self._collection.id)
        time.sleep(GRACE)
        for replica in layout.replicas():
            self._actors.end(replica)

    def ensure(self) -> None:
        """Start replicas that are in the layout and not in the cluster, and part those of one shard that came
        to one node while there is another. End those that a layout before had."""
        layout = self.layout()
        if layout is None:
            return
        known = named(self._ray).get(self._collection.id, set())
        for replica in known - layout.replicas():
            if replica < layout.next:  # else it is being built for the next layout
                self._actors.end(replica)
        places = self._actors.places(layout.replicas())
        for shard in layout.shards:
            for replica in shard.replicas:
                if replica not in places:
                    node = self._roomiest(shard, places)
                    self._actors.start(shard, replica, node)
                    places[replica] = Place(node, None)
        for shard in layout.shards:
            crowded = self._crowded(shard, places)
            if crowded is not None:
                self.move(shard.id, crowded)
                return

    def kill(self, replica: int) -> None:
        """Lose a replica's process, which Ray then starts again: to see what becomes of searches."""
        actor = self._actors.find(replica)
        if actor is not None:
            self._ray.kill(actor, no_restart=False)

    def status(self) -> list[ReplicaStatus]:
        """Every replica of the layout, and what it holds."""
        layout = self.layout()
        if layout is None:
            return []
        places = self._actors.places(layout.replicas())
        found = []
        for shard in layout.shards:
            for replica in shard.replicas:
                place = places.get(replica, Place(None, None))
                state = "lost" if place.holding is None else "ready" if place.ready else "building"
                found.append(ReplicaStatus(shard, replica, state, place.node, place.holding))
        return found

    def _present(self) -> Layout:
        layout = self.layout()
        if layout is None:
            raise InvalidRequest(
                f"collection {self._collection.name!r} is not in shards; `longleaf shards lay` cuts it",
                code="unknown_shard",
            )
        return layout

    def _change(self, following: Callable[[Layout | None], Layout], node: str | None = None) -> Layout:
        before = self.layout()
        after = following(before)
        old = set() if before is None else before.replicas()
        if before is None:
            for replica in after.replicas():  # left by a layout that is long gone
                self._actors.end(replica)
        new = after.replicas() - old
        try:
            self._build(after, new, node)
            with self._db.session() as session:
                Layouts(session, self._scope).put(self._collection.id, after)
        except BaseException:
            for replica in new:
                self._actors.end(replica)
            raise
        if old - after.replicas():
            time.sleep(GRACE)
        for replica in old - after.replicas():
            self._actors.end(replica)
        return after

    def _build(self, layout: Layout, new: set[int], node: str | None) -> None:
        places = self._actors.places(layout.replicas() - new)
        for shard in layout.shards:
            for replica in shard.replicas:
                if replica in new:
                    chosen = node or self._roomiest(shard, places)
                    self._actors.start(shard, replica, chosen)
                    places[replica] = Place(chosen, None)
        end, left = time.monotonic() + BUILDING, set(new)
        while left:
            there = self._actors.places(left)
            for shard in layout.shards:  # a node may be lost meanwhile
                for replica in left.intersection(shard.replicas) - set(there):
                    places.pop(replica, None)
                    self._actors.start(shard, replica, self._roomiest(shard, places))
            ready = {replica for replica, place in there.items() if place.ready}
            left -= ready
            if left and time.monotonic() > end:
                raise Unavailable(
                    f"{len(left)} replicas were not built within {BUILDING:.0f} s; see `ray status` and the "
                    "logs of their actors",
                    code="shards_unavailable",
                )
            if left and not ready:
                time.sleep(_LOOK)

    def _nodes(self) -> list[str]:
        return sorted(str(node["NodeID"]) for node in self._ray.nodes() if node["Alive"])

    def _roomiest(self, shard: Shard, places: dict[int, Place]) -> str | None:
        """The node with fewest replicas of the collection among those without one of this shard, if any."""
        taken = {places[replica].node for replica in shard.replicas if replica in places}
        held = Counter(place.node for place in places.values())
        nodes = self._nodes()
        free = [node for node in nodes if node not in taken] or nodes
        return min(free, key=lambda node: held[node], default=None)

    def _crowded(self, shard: Shard, places: dict[int, Place]) -> int | None:
        """A replica of the shard that shares its node with another, if there is a node without one."""
        own = {replica: places[replica].node for replica in shard.replicas}
        if None in own.values() or set(self._nodes()) <= set(own.values()):
            return None
        counts = Counter(own.values())
        return next((replica for replica, node in own.items() if counts[node] > 1), None)
