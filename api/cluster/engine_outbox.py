"""Outbox: events of one generation, made by a thread and fetched by who asked for it, in another process."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator

from model import Event
from model.errors import ModelError

MOST = 256
"""Events that are given at a time."""


class Outbox:
    """Events wait here until they are fetched. What is fetched comes in batches: one message takes all that
    came since the last.

    Attributes:
        cancel: set when nobody wants any more.
        fetched: when somebody last asked, by `time.monotonic`.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._there = asyncio.Event()
        self._items: deque[Event | ModelError] = deque()
        self._ended = False
        self.cancel = threading.Event()
        self.fetched = time.monotonic()

    def fill(self, make: Callable[[threading.Event], Iterator[Event]]) -> None:
        """Run a generation to its end, in the calling thread; an error of the engine is its last item."""
        try:
            for event in make(self.cancel):
                self._put(event)
        except ModelError as error:
            self._put(error)
        finally:
            self._ended = True
            self._wake()

    @property
    def open(self) -> bool:
        """Whether events are still to be made, or to be fetched."""
        return bool(self._items) or not self._ended

    async def fetch(self, seconds: float) -> list[Event | ModelError] | None:
        """What came since the last call, waited for so long if need be; None once all was fetched."""
        self.fetched = time.monotonic()
        if not self._items and not self._ended:
            try:
                await asyncio.wait_for(self._there.wait(), seconds)
            except TimeoutError:
                return []
        ended = self._ended  # before the items are taken: what comes after that is fetched the next time
        items = [self._items.popleft() for _ in range(min(len(self._items), MOST))]
        self._there.clear()
        if self._items or self._ended:
            self._there.set()
        self.fetched = time.monotonic()
        return items or (None if ended else [])

    def _put(self, item: Event | ModelError) -> None:
        self._items.append(item)
        self._wake()

    def _wake(self) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._there.set)
