"""What is asked for when somebody looks: engine, caches, indexes, queue, store and disk of one service."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, get_args

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from api.version import version
from ingest.queue import queue_figures
from rag.store.records import Status
from rag.store.repositories.outbox import Outbox
from rag.store.repositories.totals import totals

if TYPE_CHECKING:
    from api.wiring import Service
    from model import Engine

log = logging.getLogger(__name__)

_DOCUMENTS = dict.fromkeys(get_args(Status), 0)
_JOBS = dict.fromkeys(("queued", "running", "done", "failed", "cancelled"), 0)


class ServiceCollector(Collector):
    """Reads one service. What can't be read is left out and counted; the rest is shown all the same."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._failures: dict[str, int] = {}

    def collect(self) -> Iterable[Metric]:
        """Every family, read now."""
        sources: dict[str, Callable[[], Iterator[Metric]]] = {
            "parts": self._parts,
            "engine": self._engine,
            "index": self._index,
            "store": self._store,
            "disk": self._disk,
        }
        for name, read in sources.items():
            self._failures.setdefault(name, 0)
            try:
                yield from list(read())
            except Exception as error:  # one part that fails hides no other
                self._failures[name] += 1
                log.warning("metrics of the %s could not be read: %s", name, error)
        failed = "Times that a part could not be read for these metrics."
        yield _counters("longleaf_scrape_failures", failed, "source", self._failures)

    def _parts(self) -> Iterator[Metric]:
        yield _labelled("longleaf_build_info", "Version of the service.", "version", {version(): 1})
        checks = {part: float(state == "ok") for part, state in self._service.checks().items()}
        yield _labelled("longleaf_part_ready", "Whether a part is ready, as of /readyz.", "part", checks)
        worker = self._service.worker.now()
        alive = 0 if worker is None else worker.threads
        yield _gauge("longleaf_ingest_threads", "Threads of this process that take jobs.", alive)

    def _engine(self) -> Iterator[Metric]:
        engine = self._service.engine.now()
        if engine is None or engine.failure is not None:
            return
        stats = engine.stats()
        requests = {"running": stats.running, "waiting": stats.waiting}
        yield _labelled("longleaf_engine_requests", "Requests in the engine.", "state", requests)
        blocks = {"used": stats.blocks - stats.blocks_free, "free": stats.blocks_free}
        yield _labelled("longleaf_kv_blocks", "Blocks of the KV pool.", "state", blocks)
        cached = "Blocks of the KV pool whose content can be found again, used or free."
        yield _gauge("longleaf_kv_cached_blocks", cached, stats.blocks_cached)
        yield _gauge("longleaf_kv_block_tokens", "Tokens that a block holds.", stats.block_size)
        for name, meaning, count in (
            ("prompt_tokens", "Tokens of the prompts that were begun.", stats.prompt_tokens),
            ("cached_prompt_tokens", "Those of them that were not read again.", stats.cached_tokens),
            ("generated_tokens", "Tokens that were written.", stats.new_tokens),
            ("steps", "Steps of the scheduler.", stats.steps),
            ("preemptions", "Requests that had to give up their blocks for a while.", stats.preemptions),
            ("prefill_seconds", "Time in passes over prompts.", stats.reading_seconds),
            ("decode_seconds", "Time in passes over rows that write.", stats.writing_seconds),
            ("drafted_tokens", "Tokens that were guessed.", stats.drafted),
            ("accepted_tokens", "Guessed tokens that were right.", stats.accepted),
        ):
            yield CounterMetricFamily(f"longleaf_engine_{name}", meaning, value=count)
        yield from _tiers(engine, stats.tiers)

    def _index(self) -> Iterator[Metric]:
        indexes = self._service.indexes.now()
        sizes = [] if indexes is None else indexes.sizes()
        yield _gauge("longleaf_index_collections", "Collections whose index is in memory.", len(sizes))
        yield _gauge("longleaf_index_chunks", "Chunks of the indexes in memory.", sum(sizes))

    def _store(self) -> Iterator[Metric]:
        with self._service.db.read() as session:
            held, queue, messages = totals(session), queue_figures(session), Outbox(session).waiting()
        yield _gauge("longleaf_workspaces", "Workspaces of the store.", held.workspaces)
        yield _gauge("longleaf_collections", "Collections of the store.", held.collections)
        documents = _DOCUMENTS | held.documents
        yield _labelled("longleaf_documents", "Documents of the store.", "status", documents)
        yield _labelled("longleaf_failed_documents", "Documents that failed, by code.", "code", held.failed)
        yield _gauge("longleaf_chunks", "Chunks of the store's documents.", held.chunks)
        yield _gauge("longleaf_document_bytes", "Originals of the store's documents.", held.bytes)
        yield _gauge("longleaf_database_bytes", "The database, as it says itself.", held.database_bytes)
        yield CounterMetricFamily("longleaf_changes", "Documents published or deleted.", value=held.changes)
        jobs = _JOBS | queue.jobs
        yield _labelled("longleaf_queue_jobs", "Jobs of the store, whoever does them.", "status", jobs)
        oldest = "How long the oldest job waits that a worker could take."
        yield _gauge("longleaf_queue_oldest_seconds", oldest, queue.oldest_seconds)
        lost = "Running jobs whose worker was not heard of until its lease ran out."
        yield _gauge("longleaf_queue_lost_jobs", lost, queue.lost)
        pending = "Messages to webhooks that are still to be sent, or to be sent again."
        yield _gauge("longleaf_webhook_messages_pending", pending, messages)

    def _disk(self) -> Iterator[Metric]:
        usage = shutil.disk_usage(self._service.settings.data_dir)
        yield _gauge("longleaf_data_disk_bytes", "Size of the data folder's file system.", usage.total)
        yield _gauge("longleaf_data_disk_free_bytes", "What is free on it.", usage.free)


def tiers_below(tiers: Mapping[str, Any]) -> dict[str, Any]:
    """Those below the engine's pool that there are, of `Stats.tiers`: `memory`, `disk`."""
    return {name: tiers[name] for name in ("memory", "disk") if tiers.get(name) is not None}


def _tiers(engine: Engine, tiers: Mapping[str, Any]) -> Iterator[Metric]:
    named = {"device": engine.device, "dtype": engine.dtype, "weights": engine.weights}
    info = GaugeMetricFamily("longleaf_engine_info", "How the model is held.", labels=[*named])
    info.add_metric([*named.values()], 1)
    yield info
    if not tiers:
        return
    below = tiers_below(tiers)
    for name, field, meaning in (
        ("longleaf_kv_tier_bytes", "bytes", "What a tier below the pool holds."),
        ("longleaf_kv_tier_limit_bytes", "limit", "The most that it may hold."),
    ):
        yield _labelled(name, meaning, "tier", {tier: held[field] for tier, held in below.items()})
    for name, field, meaning in (
        ("longleaf_kv_tier_hits", "hits", "Blocks that were found in a tier below the pool."),
        ("longleaf_kv_tier_evictions", "evicted", "Blocks that made room for others there."),
    ):
        yield _counters(name, meaning, "tier", {tier: held[field] for tier, held in below.items()})
    missed = "Blocks that no tier had."
    yield CounterMetricFamily("longleaf_kv_tier_misses", missed, value=tiers["misses"])
    if (disk := below.get("disk")) is not None:
        yield _gauge("longleaf_kv_disk_queued_bytes", "What waits to be written.", disk["queued_bytes"])
        for field, meaning in (
            ("written", "Blocks that came to the disk."),
            ("dropped", "Attempts that failed for want of room."),
            ("damaged", "Files that were not as they were written, and were removed."),
        ):
            yield CounterMetricFamily(f"longleaf_kv_disk_{field}_blocks", meaning, value=disk[field])


def _gauge(name: str, meaning: str, value: float) -> Metric:
    return GaugeMetricFamily(name, meaning, value=value)


def _labelled(name: str, meaning: str, label: str, values: Mapping[str, float]) -> Metric:
    family = GaugeMetricFamily(name, meaning, labels=[label])
    for key, value in values.items():
        family.add_metric([key], value)
    return family


def _counters(name: str, meaning: str, label: str, values: Mapping[str, float]) -> Metric:
    family = CounterMetricFamily(name, meaning, labels=[label])
    for key, value in values.items():
        family.add_metric([key], value)
    return family
