"""What one process does and holds at this moment, from the parts that know it."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from api import schemas
from api.metrics.watching import tiers_below
from api.version import version
from ingest.queue import queue_figures
from rag.store.migrate import head_revision
from rag.store.repositories.totals import totals
from rag.store.scope import utc_now

if TYPE_CHECKING:
    from api.wiring import Service


def operations(service: Service) -> schemas.Operations:
    """The figures that `/metrics` has as well, of this moment. Raises Unavailable."""
    with service.db.read() as session:
        held, queue = totals(session), queue_figures(session)
    worker, indexes = service.worker.now(), service.indexes.now()
    embedder = service.embedder.now()
    sizes = [] if indexes is None else indexes.sizes()
    usage = shutil.disk_usage(service.settings.data_dir)
    return schemas.Operations(
        at=utc_now(),
        version=version(),
        schema_revision=head_revision(),
        database=service.db.dialect,
        embedder=embedder.fingerprint if embedder else None,
        checks=service.checks(),
        queue=schemas.QueueState(
            jobs=queue.jobs,
            oldest_seconds=queue.oldest_seconds,
            lost=queue.lost,
            threads=0 if worker is None else worker.threads,
        ),
        store=schemas.StoreState(
            workspaces=held.workspaces,
            collections=held.collections,
            documents=held.documents,
            failed=held.failed,
            chunks=held.chunks,
            bytes=held.bytes,
            database_bytes=held.database_bytes,
        ),
        index=schemas.IndexState(collections=len(sizes), chunks=sum(sizes)),
        disk=schemas.DiskState(total_bytes=usage.total, free_bytes=usage.free),
        engine=_engine(service),
    )


def _engine(service: Service) -> schemas.EngineState | None:
    engine = service.engine.now()
    if engine is None or engine.failure is not None:
        return None
    stats = engine.stats()
    return schemas.EngineState(
        model=engine.name,
        device=str(engine.device),
        dtype=str(engine.dtype),
        weights=str(engine.weights),
        running=stats.running,
        waiting=stats.waiting,
        block_tokens=stats.block_size,
        blocks=stats.blocks,
        blocks_free=stats.blocks_free,
        blocks_cached=stats.blocks_cached,
        prompt_tokens=stats.prompt_tokens,
        cached_tokens=stats.cached_tokens,
        new_tokens=stats.new_tokens,
        reading_seconds=stats.reading_seconds,
        writing_seconds=stats.writing_seconds,
        preemptions=stats.preemptions,
        drafted=stats.drafted,
        accepted=stats.accepted,
        tiers={
            name: schemas.TierState(bytes=tier["bytes"], limit_bytes=tier["limit"], hits=tier["hits"])
            for name, tier in tiers_below(stats.tiers).items()
        },
    )
