"""Work that another thread does while the caller goes on: both legs of a search at the same time."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from contextvars import copy_context
from functools import cache
from typing import TypeVar

T = TypeVar("T")


@contextmanager
def beside(work: Callable[[], T], pays: bool) -> Iterator[Callable[[], T]]:
    """Begin `work` on another thread, in the caller's context; what is given waits for its result.

    Where it does not pay (to hand it over takes a tenth of a millisecond) the caller does it, when it asks.
    Nothing of the work goes on after the context has ended.
    """
    if not pays:
        yield work
        return
    begun = _pool().submit(copy_context().run, work)
    try:
        yield begun.result
    finally:
        wait([begun])


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max(2, os.cpu_count() or 1), thread_name_prefix="longleaf-search")


def _forget() -> None:
    _pool.cache_clear()


# A process that was forked has the pool without its threads.
os.register_at_fork(after_in_child=_forget)
