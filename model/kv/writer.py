"""The write queue: blocks on their way to the disk, so that the engine never waits for it."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from threading import Condition, Thread

from torch import Tensor

from model.kv.disk import DiskTier

_log = logging.getLogger(__name__)

_MISSED_KEPT = 1 << 16


@dataclass(eq=False)
class Waiting:
    """A block in the queue; `tags` is shared with every other tier that has the block."""

    key: bytes
    tensor: Tensor
    tags: set[str]
    cancelled: bool = False


class Writer:
    """A bounded queue and the one thread that writes it, in order. Safe to use from several threads.

    Attributes:
        limit: most bytes of tensors in the queue; what comes above is dropped.
        bytes: of the tensors in it and of the one being written.
        written, dropped: blocks so far.
        missed: which were dropped; `refill` takes out what it has seen to.
    """

    def __init__(self, disk: DiskTier, limit: int, lock: Condition, refill: Callable[[], None]) -> None:
        """Start the thread.

        Args:
            lock: the one that guards every tier.
            refill: called with the lock when there is nothing to write; it may `put` what was missed before.
        """
        self._disk, self._changed, self._refill = disk, lock, refill
        self.limit = limit
        self.bytes = self.written = self.dropped = 0
        self._queue: OrderedDict[bytes, Waiting] = OrderedDict()
        self.missed: OrderedDict[bytes, None] = OrderedDict()
        self._current: Waiting | None = None
        self._closed = False
        self._thread = Thread(target=self._run, name="kv-writer", daemon=True)
        self._thread.start()

    def get(self, key: bytes) -> Waiting | None:
        """The block if it is in the queue or being written."""
        with self._changed:
            return next((item for item in (self._queue.get(key), self._current) if _wanted(item, key)), None)

    def put(self, key: bytes, tensor: Tensor, tags: set[str]) -> bool:
        """Queue a block; gives False, and counts it as dropped, where there is no room or no disk."""
        with self._changed:
            if self._closed or self._disk.problem or self.bytes + tensor.nbytes > self.limit:
                self._drop(key, retry=True)
                return False
            self._queue[key] = Waiting(key, tensor, tags)
            self.bytes += tensor.nbytes
            self._changed.notify_all()
            return True

    def wake(self) -> None:
        """Have the thread look for work other than the queue's."""
        with self._changed:
            self._changed.notify_all()

    def purge(self, tag: str) -> set[bytes]:
        """Take every block with this tag out, the one being written included; gives their hashes.

        The thread may still hold the file that it was writing: see `settle`.
        """
        with self._changed:
            found = [item for item in self._all() if tag in item.tags and not item.cancelled]
            self._cancel(found)
            return {item.key for item in found}

    def settle(self) -> None:
        """Wait until nothing that was cancelled is being written any more."""
        with self._changed:
            self._changed.wait_for(lambda: self._current is None or not self._current.cancelled)

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until everything queued was written or refused; gives False where the time did not suffice."""
        with self._changed:
            return self._changed.wait_for(self._idle, timeout)

    def close(self, timeout: float) -> None:
        """Write what is queued, for `timeout` seconds at most, and end the thread."""
        self.flush(timeout)
        with self._changed:
            self._closed = True
            self._cancel(list(self._all()))
            self._changed.notify_all()
        self._thread.join()

    def _drop(self, key: bytes, *, retry: bool) -> None:
        self.dropped += 1
        if not retry:
            return
        self.missed[key] = None
        if len(self.missed) > _MISSED_KEPT:
            self.missed.popitem(last=False)

    def _all(self) -> Iterator[Waiting]:
        yield from self._queue.values()
        if self._current:
            yield self._current

    def _idle(self) -> bool:
        return not self._queue and self._current is None and not self._disk.unsynced

    def _cancel(self, items: list[Waiting]) -> None:
        for item in items:
            item.cancelled = True
            if item is not self._current:
                del self._queue[item.key]
                self.bytes -= item.tensor.nbytes

    def _run(self) -> None:
        while True:
            item = self._next()
            if item:
                try:
                    done = self._disk.write(
                        item.key, item.tensor, item.tags, partial(getattr, item, "cancelled")
                    )
                except Exception:
                    # A thread that ends here would leave `flush` and `settle` waiting for ever.
                    _log.exception("a block was not written")
                    done = False
                with self._changed:
                    self.bytes -= item.tensor.nbytes
                    self.written += done
                    if not done and not item.cancelled:
                        # Without a problem it is larger than the whole tier, and always will be.
                        self._drop(item.key, retry=self._disk.problem is not None)
                    self._current = item = None  # or the last block's memory would stay
            elif self._closed:
                return
            self._disk.sync()

    def _next(self) -> Waiting | None:
        """Wait for a block; None where there is something else to do."""
        with self._changed:
            if not self._queue and not self._disk.problem:
                self._refill()
            self._changed.notify_all()
            if not self._queue and not self._closed and not self._disk.unsynced:
                self._changed.wait(self._disk.pause if self._disk.problem else None)
                if self._disk.problem:
                    self._disk.ready()
            if self._queue:
                _, self._current = self._queue.popitem(last=False)
            return self._current


def _wanted(item: Waiting | None, key: bytes) -> bool:
    return item is not None and item.key == key and not item.cancelled
