"""Threads for short work that must not queue behind searches: who asks, what they may use, noting it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, TypeVarTuple

from anyio import CapacityLimiter
from anyio.lowlevel import RunVar
from anyio.to_thread import run_sync

T = TypeVar("T")
Arguments = TypeVarTuple("Arguments")

SHORT_THREADS = 8
_limiter: RunVar[CapacityLimiter] = RunVar("longleaf_short_threads")


async def shortly(work: Callable[[*Arguments], T], *arguments: *Arguments) -> T:
    """The result of `work`, which talks to the database for a moment and waits for nothing else."""
    try:
        limiter = _limiter.get()
    except LookupError:
        limiter = CapacityLimiter(SHORT_THREADS)
        _limiter.set(limiter)
    return await run_sync(work, *arguments, limiter=limiter)
