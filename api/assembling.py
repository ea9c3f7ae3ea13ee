"""How the parts of a service are made of each other, once what they are made of is loaded.

What a part needs is imported when it is made: a process that answers nothing loads no index, and one without
a cluster no Ray.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from api.wiring import Service
    from ingest.worker import OnPublished, Worker
    from rag.answering import Answerer
    from rag.finding import Search
    from rag.index.live import LiveIndexes
    from rag.index.shared import SharedSnapshots
    from rag.shards.searching import Sharding


def make_indexes(service: Service) -> LiveIndexes:
    """The indexes, of which nothing is read yet."""
    from rag.index.live import LiveIndexes  # noqa: PLC0415

    return LiveIndexes(service.db, service.settings, shared=_shared(service))


def _shared(service: Service) -> SharedSnapshots | None:
    if not service.settings.objects:
        return None
    from rag.index.shared import SharedSnapshots  # noqa: PLC0415

    return SharedSnapshots.of(service.db, service.settings)


def make_retriever(service: Service) -> Search:
    """What finds chunks, here or where the loaders say. Waits for the embedder and the indexes."""
    from rag.rerank import load_reranker  # noqa: PLC0415
    from rag.retrieval import Retriever  # noqa: PLC0415

    embedder = service.embedder.wait()
    if service.loaders.search is not None:
        return service.loaders.search(service.settings)
    reranker = load_reranker(service.settings, embedder)
    return Retriever(
        service.db, service.indexes.wait(), embedder, reranker, service.observer, sharding=_sharding(service)
    )


def _sharding(service: Service) -> Sharding | None:
    """The shards of the cluster, which this then looks after; None without one."""
    if not service.settings.cluster:
        return None
    from api.cluster.joining import join  # noqa: PLC0415
    from api.cluster.shard_keeping import ShardKeeper  # noqa: PLC0415
    from api.cluster.shard_ray import RayShards  # noqa: PLC0415
    from rag.shards.searching import Sharding  # noqa: PLC0415

    ray = join(service.settings.cluster)
    keeper = ShardKeeper(service.db, service.settings, ray)
    service.run_beside("shards", lambda: keeper.run(service.stopping))
    return Sharding(service.db, RayShards(ray))


def make_answerer(service: Service) -> Answerer:
    """What answers questions; it waits for the engine by itself. Waits for the retriever."""
    from rag.answering import Answerer  # noqa: PLC0415

    return Answerer(
        service.db,
        service.retriever.wait(),
        service.embedder.wait(),
        service.engine.wait,
        service.settings,
        observer=service.observer,
        standing=service.loaders.standing(service.settings),
    )


def make_worker(service: Service, on_published: OnPublished | None) -> Worker:
    """What takes jobs, started. Waits for the embedder."""
    from ingest.worker import Worker  # noqa: PLC0415

    worker = Worker(
        service.db,
        service.settings,
        service.embedder.wait(),
        on_published,
        on_step=service.metrics.ingest_step,
        on_outcome=service.metrics.ingest_ended,
    )
    worker.start()
    return worker
