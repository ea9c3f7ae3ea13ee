"""Turns: one holder at a time, in the order of arrival."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

_POLL = 0.05
"""Seconds between looks at the cancel event while waiting."""


class FairLock:
    """A lock that is handed on first come, first served, and whose waiting can be cancelled."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._queue: deque[object] = deque()

    @contextmanager
    def hold(self, cancel: threading.Event | None = None) -> Iterator[bool]:
        """Wait for the turn and hold it; gives False, without holding, if `cancel` is set first."""
        ticket = object()
        with self._condition:
            self._queue.append(ticket)
        try:
            with self._condition:
                while self._queue[0] is not ticket and not (cancel and cancel.is_set()):
                    self._condition.wait(_POLL if cancel else None)
                mine = self._queue[0] is ticket
            yield mine
        finally:
            with self._condition:
                self._queue.remove(ticket)
                self._condition.notify_all()
