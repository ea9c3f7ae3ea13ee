"""Loaders: where the two models come from. Their libraries take seconds to import, so that it happens here,
when a model is wanted, and not when the command starts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rag.settings import Settings

if TYPE_CHECKING:
    from model import Engine
    from rag.embedders.base import Embedder
    from rag.finding import Search
    from rag.objects.blocks import SharedBlocks
    from rag.writer import Standing


def load_embedder(settings: Settings) -> Embedder:
    """The embedder that the settings name. Raises as `rag.embedders.load_embedder`."""
    from rag import embedders  # noqa: PLC0415

    return embedders.load_embedder(settings)


def load_engine(settings: Settings) -> Engine:
    """The generator that the settings name. Raises as `Engine.load`; WorseModel."""
    from ingest.keeping.kv import kv_folder  # noqa: PLC0415
    from model import Engine, EngineOptions  # noqa: PLC0415
    from model.weights.hub import resolve  # noqa: PLC0415
    from rag.distil.verdict import standing  # noqa: PLC0415

    path = resolve(settings.model, download=settings.allow_download)
    standing(path, allow_worse=settings.allow_worse_model)
    options = EngineOptions(
        processes=settings.model_processes,
        stages=settings.model_stages,
        kv_tokens=settings.kv_tokens or None,
        kv_memory_bytes=settings.kv_memory_bytes,
        kv_folder=kv_folder(settings) if settings.kv_disk_bytes else None,
        kv_disk_bytes=settings.kv_disk_bytes,
        kv_place=kv_place(settings),
    )
    return Engine.load(
        path, settings.device, settings.dtype, options=options, cache_path=hardware_cache(settings)
    )


def kv_place(settings: Settings) -> SharedBlocks | None:
    """Where an engine of this store shares what it has read with others; None where it is not to.

    Raises Unavailable, InvalidRequest.
    """
    if not settings.kv_shared_bytes:
        return None
    from ingest.keeping.kv import shared_blocks  # noqa: PLC0415
    from rag.store.opening import open_database  # noqa: PLC0415

    db = open_database(settings)
    try:
        return shared_blocks(db, settings)
    finally:
        db.dispose()


def standing_of(settings: Settings) -> Standing:
    """What the trial of the model that the settings name has shown; `UNTRIED` for one that is not there, or
    was found worse: to load it says why."""
    from model.errors import ModelError  # noqa: PLC0415
    from model.weights.hub import resolve  # noqa: PLC0415
    from rag.distil.verdict import WorseModel, standing  # noqa: PLC0415
    from rag.writer import UNTRIED  # noqa: PLC0415

    try:
        return standing(resolve(settings.model))
    except (ModelError, WorseModel):
        return UNTRIED


def hardware_cache(settings: Settings) -> Path:
    """The file that keeps what was measured about this machine."""
    return settings.data_dir / "hardware.json"


@dataclass(frozen=True)
class Loaders:
    """Where the two models come from; several services in one process can share them. `search` is where
    indexes are held elsewhere; by default they are here."""

    embedder: Callable[[Settings], Embedder] = load_embedder
    engine: Callable[[Settings], Engine] = load_engine
    standing: Callable[[Settings], Standing] = standing_of
    search: Callable[[Settings], Search] | None = None
