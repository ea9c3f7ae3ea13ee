"""The lines of one process, by lane: how many may be inside, and whether more documents may be queued."""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from api.lanes import Lane
from ingest import queue
from rag.errors import Unavailable
from rag.settings import Settings
from rag.store.session import Database

SEARCH_THREADS = 40
"""Requests that the server's threads work on at a time (anyio's default)."""
PICTURES_AT_ONCE = max(1, (os.cpu_count() or 1) // 2)
"""Pages that are drawn at a time, each by a process that takes a core: searches keep the other cores."""
_RETRY_SECONDS = 2


class Lines:
    """What is inside, whichever door it came through; threads may share it."""

    def __init__(self, settings: Settings, db: Database, answer_threads: int) -> None:
        self._db = db
        self._most_queued = settings.max_queued_documents
        self._most: dict[Lane, int] = {
            "questions": answer_threads + settings.max_waiting,
            "searches": SEARCH_THREADS + settings.max_waiting,
            "uploads": settings.max_uploads,
            "pictures": PICTURES_AT_ONCE + settings.max_waiting,
        }
        self._inside: Counter[Lane] = Counter()
        self._lock = threading.Lock()

    @contextmanager
    def inside(self, lane: Lane) -> Iterator[None]:
        """Hold a place in a lane. Raises Unavailable (`overloaded`) at once where there is none."""
        with self._lock:
            self.check(lane)
            self._inside[lane] += 1
        try:
            yield
        finally:
            with self._lock:
                self._inside[lane] -= 1

    def check(self, lane: Lane) -> None:
        """Raise Unavailable (`overloaded`) where a lane is full at this moment."""
        if self._inside[lane] >= self._most[lane]:
            raise _overloaded(f"Too many {lane} are waiting; try again soon.")

    @property
    def bounds_queue(self) -> bool:
        """Whether there is a limit of documents that wait to be read."""
        return self._most_queued > 0

    def check_queue(self) -> None:
        """Raise Unavailable (`overloaded`) while as many documents wait as may; asks the database."""
        if self.bounds_queue and queue.length(self._db, self._most_queued) >= self._most_queued:
            raise _overloaded("Too many documents are waiting to be read; try again later.")


def _overloaded(detail: str) -> Unavailable:
    return Unavailable(detail, code="overloaded", extra={"retry_after": _RETRY_SECONDS})
