"""Engines with small blocks and chunks, so that short prompts meet every edge of the scheduler."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from model import Engine, EngineOptions, Event, SamplingParams, TokenEvent

SMALL = EngineOptions(chunk=32, block_size=16, kv_tokens=16_384)


def small(folder: Path, dtype: str = "float32", **options: Any) -> Engine:
    """The model of a folder behind 16-token blocks and 32-token chunks."""
    return Engine.load(folder, "cpu", dtype, options=replace(SMALL, **options))


def tokens(events: Iterable[Event]) -> list[int]:
    """The ids that were written."""
    return [event.token_id for event in events if isinstance(event, TokenEvent)]


def cold(engine: Engine, ids: Sequence[int], params: SamplingParams) -> list[Event]:
    """All events of a request that finds nothing in the cache."""
    engine.forget()
    return list(engine.generate(ids, params))
