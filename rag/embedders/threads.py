"""Several passes at once, each on one core, instead of one after another on all of them.

A product of a small encoder is over in less time than it takes to gather the threads again that shared it;
passes that have nothing to do with one another never wait.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch
from threadpoolctl import ThreadpoolController

Item = TypeVar("Item")
Made = TypeVar("Made")

LEAST_TOKENS = 256
"""Of a pass that others go beside: below that what it costs to begin one shows."""


class Lanes:
    """As many threads as torch would take for one pass, each with one core to itself."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pool: ThreadPoolExecutor | None = None
        self.count = torch.get_num_threads()

    def size(self, tokens: int, most: int) -> int:
        """Tokens of each pass over `tokens` in all, at most `most`, so that every lane has as many passes."""
        rounds = math.ceil(tokens / (most * self.count))
        return max(LEAST_TOKENS, math.ceil(tokens / (rounds * self.count)))

    def map(self, work: Callable[[Item], Made], items: Sequence[Item]) -> list[Made]:
        """What `work` makes of each, in order; one alone has all cores. Raises what `work` raises."""
        if len(items) < 2 or self.count < 2:
            return [work(item) for item in items]
        with self._lock:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(self.count, "embedding", initializer=_alone)
        return list(self._pool.map(work, items))


def _alone() -> None:
    """Let this thread alone compute without others."""
    torch.get_num_threads()  # sets up the thread, which would undo what follows
    ThreadpoolController().limit(limits=1, user_api="openmp")
