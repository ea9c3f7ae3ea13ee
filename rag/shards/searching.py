"""A collection in shards, searched as one index is: two rounds, global weights, an exact merge."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import replace

from rag.errors import Conflict, Unavailable
from rag.index.hits import Hits, Part, Partial, merge
from rag.index.question import Floats, Question, Statistics, total
from rag.observing import NOBODY, Observer
from rag.shards.gather import Gatherer
from rag.shards.placement import Layout, Shard
from rag.shards.port import Shards, Standing
from rag.store.repositories import Changes, Layouts
from rag.store.scope import Scope
from rag.store.session import Database


class Sharding:
    """Which collections are in shards, and the way to their shards."""

    def __init__(self, db: Database, shards: Shards, gatherer: Gatherer | None = None) -> None:
        self._db = db
        self._shards = shards
        self._gatherer = gatherer or Gatherer()

    def find(self, scope: Scope, collection_id: str, embedder: str) -> ShardedIndex | None:
        """The shards of a collection as they are laid out now, with all that was committed before the call;
        None for a collection that is searched as a whole.

        Raises NotFound (`collection_not_found`), Conflict (`embedder_mismatch`).
        """
        with self._db.glance() as session:
            layout = Layouts(session, scope).find(collection_id)
            if layout is None:
                return None
            latest = Changes(session, scope).latest(collection_id)
        if latest.embedder != embedder:
            raise Conflict(
                f"collection {latest.name!r} was embedded with {latest.embedder}, this service runs "
                f"{embedder}: set LONGLEAF_EMBEDDER to that model, or run `longleaf reembed` for the "
                "collection",
                code="embedder_mismatch",
            )
        standing = Standing(scope.workspace_id, collection_id, latest.seq, embedder)

        def relaid() -> Layout | None:
            with self._db.glance() as again:
                return Layouts(again, scope).find(collection_id)

        return ShardedIndex(layout, standing, self._shards, self._gatherer, relaid)


class ShardedIndex:
    """One collection's shards, as they were laid out at one moment; `relaid` tells how they are now."""

    def __init__(
        self,
        layout: Layout,
        standing: Standing,
        shards: Shards,
        gatherer: Gatherer,
        relaid: Callable[[], Layout | None],
    ) -> None:
        self._layout = layout
        self._standing = standing
        self._shards = shards
        self._gatherer = gatherer
        self._relaid = relaid

    @property
    def seq(self) -> int:
        """The number of the last change that is in what is found."""
        return self._standing.seq

    @property
    def empty(self) -> bool:
        """Never known beforehand."""
        return False

    def search(
        self,
        text: str,
        vector: Floats,
        k: int,
        documents: frozenset[str] | None = None,
        *,
        phrases: Sequence[str] = (),
        observer: Observer = NOBODY,
    ) -> Hits:
        """As `CollectionIndex.search`; where shards do not answer, `Hits.partial` names them.

        Raises Unavailable (`shards_unavailable`) where none does.
        """
        question = Question.of(text, vector, k, phrases)
        while True:
            layout = self._layout
            hits = self._searched(layout, question, documents, observer)
            if hits is not None and hits.partial is None:
                return hits
            now = self._relaid()
            if now is None or now.version == layout.version:
                break
            self._layout = now  # shards were split or moved meanwhile, and those that were left are gone
        if hits is None:
            raise Unavailable(
                f"none of the {len(layout.shards)} shards of this collection answers; "
                "`longleaf shards status` shows how they are",
                code="shards_unavailable",
            )
        return hits

    def _searched(
        self, layout: Layout, question: Question, documents: frozenset[str] | None, observer: Observer
    ) -> Hits | None:
        """What the shards of one layout have, None where none answers."""
        standing = self._standing

        def counts(_: Shard, replica: int) -> Future[Statistics]:
            return self._shards.statistics(standing, replica, question)

        with observer.stage("statistics"):
            counted = self._gatherer.gather(layout.shards, "statistics", counts)
        if not counted:
            return None
        statistics = total(counted.values())
        own = None if documents is None else layout.divided(documents)

        def looks(shard: Shard, replica: int) -> Future[Part]:
            among = None if own is None else own[shard.id]
            return self._shards.part(standing, replica, question, statistics, among)

        asked = [shard for shard in layout.shards if shard.id in counted]
        with observer.stage("shards"):
            found = self._gatherer.gather(asked, "part", looks)
        if not found:
            return None
        missing = tuple(shard.id for shard in layout.shards if shard.id not in found)
        partial = Partial(len(layout.shards), missing) if missing else None
        return replace(merge(list(found.values()), question.k), partial=partial)
