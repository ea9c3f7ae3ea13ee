"""Fairness: whose request is next, so that a workspace that asks much does not keep another waiting.

Each workspace has a counter of the service that it got; the one that got least is served next (the virtual
token counter of Sheng et al. 2024, "Fairness in Serving Large Language Models"). Who comes back after a pause
is
lifted to the least of those who wait: nobody saves up turns by being away.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class FairQueue(Generic[T]):
    """Requests that wait, by workspace; within one, in the order in which they came."""

    def __init__(self) -> None:
        self._waiting: dict[str, deque[tuple[T, float]]] = {}
        self._served: dict[str, float] = {}

    def __len__(self) -> int:
        return sum(len(queue) for queue in self._waiting.values())

    def add(self, workspace: str, item: T, cost: float) -> None:
        """Let a request wait. `cost` is what it will take, in any one unit."""
        if workspace not in self._waiting:
            least = min((self._served[other] for other in self._waiting), default=None)
            known = self._served.get(workspace, 0.0)
            self._served[workspace] = known if least is None else max(known, least)
            self._waiting[workspace] = deque()
        self._waiting[workspace].append((item, cost))

    def order(self) -> Iterator[tuple[str, T]]:
        """All that wait, as they would be served if each in turn were; nothing is changed by looking."""
        served = {workspace: self._served[workspace] for workspace in self._waiting}
        queues = {workspace: iter(tuple(queue)) for workspace, queue in self._waiting.items()}
        while served:
            workspace = min(served, key=served.__getitem__)
            found = next(queues[workspace], None)
            if found is None:
                del served[workspace]
                continue
            served[workspace] += found[1]
            yield workspace, found[0]

    def remove(self, workspace: str, item: T) -> bool:
        """Let a request wait no longer; whether it was there."""
        queue = self._waiting.get(workspace, deque())
        found = next((entry for entry in queue if entry[0] is item), None)
        if found is None:
            return False
        queue.remove(found)
        if not queue:
            del self._waiting[workspace]
            self._tidy()
        return True

    def charge(self, workspace: str, amount: float) -> None:
        """Count service that a workspace got; negative where it was charged too much before."""
        self._served[workspace] = self._served.get(workspace, 0.0) + amount

    def _tidy(self) -> None:
        # Counters of who is away are kept, so that leaving for a moment wins nothing, but not for ever.
        if len(self._served) > 2 * len(self._waiting) + 1000:
            away = [name for name in self._served if name not in self._waiting]
            for name in sorted(away, key=self._served.__getitem__)[: len(away) // 2]:
                del self._served[name]
