"""How quick replicas were of late, and which are not to be asked first."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence

REMEMBERED = 100
"""Answers of a replica of which the times are known."""
SHARE = 0.95
FIRST_WAIT = 0.05
"""Seconds before a second replica is asked while nothing is known of the first."""
LEAST_WAIT, MOST_WAIT = 0.002, 1.0
REST = 5.0
"""Seconds in which a replica that failed is asked after the others."""


class Latencies:
    """Times of answers by replica; threads may share it."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._took: dict[object, deque[float]] = {}
        self._failed: dict[object, float] = {}
        self._turns: dict[object, int] = {}

    def took(self, replica: object, seconds: float) -> None:
        """Note an answer."""
        with self._lock:
            self._took.setdefault(replica, deque(maxlen=REMEMBERED)).append(seconds)
            self._failed.pop(replica, None)

    def failed(self, replica: object) -> None:
        """Note that a replica did not answer."""
        with self._lock:
            self._failed[replica] = self._clock()

    def wait(self, replica: object) -> float:
        """Return the seconds after which another replica is asked as well: what 95 of 100 answers took."""
        with self._lock:
            known = sorted(self._took.get(replica, ()))
        if not known:
            return FIRST_WAIT
        return min(max(known[min(len(known) - 1, int(len(known) * SHARE))], LEAST_WAIT), MOST_WAIT)

    def order(self, replicas: Sequence[int], key: Callable[[int], object]) -> list[int]:
        """Return the replicas in the order in which to ask them: each is first in turn, those that failed
        of late are last."""
        with self._lock:
            own = key(replicas[0])
            first = self._turns[own] = (self._turns.get(own, -1) + 1) % len(replicas)
            now = self._clock()
            turned = [*replicas[first:], *replicas[:first]]
            return sorted(turned, key=lambda each: now - self._failed.get(key(each), -REST) < REST)
