"""Threads for short work that must not queue behind searches: who asks, what they may use, noting it; and the
memory that all threads of a server share."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar, TypeVarTuple

from anyio import CapacityLimiter
from anyio.lowlevel import RunVar
from anyio.to_thread import run_sync

T = TypeVar("T")
Arguments = TypeVarTuple("Arguments")

SHORT_THREADS = 8
_ARENA_MAX, _ARENAS = -8, 2  # malloc.h
_limiter: RunVar[CapacityLimiter] = RunVar("longleaf_short_threads")


async def shortly(work: Callable[[*Arguments], T], *arguments: *Arguments) -> T:
    """The result of `work`, which talks to the database for a moment and waits for nothing else."""
    try:
        limiter = _limiter.get()
    except LookupError:
        limiter = CapacityLimiter(SHORT_THREADS)
        _limiter.set(limiter)
    return await run_sync(work, *arguments, limiter=limiter)


def share_memory() -> None:
    """Have all threads take memory from two places, not from one each, where the C library is glibc.

    A place keeps what was returned to it. With dozens of threads that work in turn, each has one that has
    grown to the largest work it ever did (mallopt(3), M_ARENA_MAX; docs/decisions/0527). To be called before
    threads are begun.
    """
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):  # musl has no mallopt
            ctypes.CDLL(None).mallopt(_ARENA_MAX, _ARENAS)
