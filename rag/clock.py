"""Clock: how long each step of an answer took."""

from __future__ import annotations

import time

from rag.observing import NOBODY, Observer

STEPS = ("retrieval", "packing", "quoting", "time_to_first_token", "generation", "receipts", "total")

_STAGES = {"packing": "pack", "quoting": "quote", "generation": "answer", "receipts": "receipts"}


class Clock:
    """Milliseconds by step; None for a step that was not taken."""

    def __init__(self, observer: Observer = NOBODY) -> None:
        self.observer = observer
        self._start = self._last = time.perf_counter()
        self.timings: dict[str, float | None] = dict.fromkeys(STEPS)

    def step(self, name: str) -> None:
        """The step that ends now."""
        now = time.perf_counter()
        if name in _STAGES:
            self.observer.took(_STAGES[name], now - self._last)
        self.timings[name], self._last = round((now - self._last) * 1000, 2), now

    def since_start(self, name: str) -> None:
        """A moment, counted from the question's arrival; only the first counts."""
        if self.timings[name] is None:
            self.timings[name] = round((time.perf_counter() - self._start) * 1000, 2)
