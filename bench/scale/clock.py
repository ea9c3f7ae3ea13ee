"""A simulated clock: what is to happen, in the order of its times."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from itertools import count


class Clock:
    """Discrete events.

    Attributes:
        now: seconds.
    """

    def __init__(self) -> None:
        self.now = 0.0
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = count()

    def at(self, when: float, what: Callable[[], None]) -> None:
        """Let something happen then, after what was told before of the same time."""
        heapq.heappush(self._heap, (max(when, self.now), next(self._numbers), what))

    def run(self, until: float = float("inf")) -> None:
        """Let all happen that is due by then."""
        while self._heap and self._heap[0][0] <= until:
            self.now, _, what = heapq.heappop(self._heap)
            what()


class Station:
    """Servers that take one piece of work after the other, in the order in which it comes.

    Attributes:
        busy: seconds of all servers together.
    """

    def __init__(self, clock: Clock, servers: int) -> None:
        self._clock, self.servers = clock, servers
        self._free = [0.0] * servers
        self.busy = 0.0

    def take(self, seconds: float) -> float:
        """Do work that has come now; gives when it will be done."""
        begin = max(self._clock.now, self._free[0])
        heapq.heapreplace(self._free, begin + seconds)
        self.busy += seconds
        return begin + seconds

    @property
    def behind(self) -> float:
        """How long somebody who comes now would wait."""
        return max(0.0, self._free[0] - self._clock.now)
