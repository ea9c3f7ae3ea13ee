"""The shared tier: blocks that other engines of the same model have read, by a place that all of them reach.

Nothing here makes the engine wait long: blocks go there behind it, and a read that takes longer than `wait`
counts as a miss, after which the place is left alone for `pause` seconds. Bytes that are damaged or another's
are a miss too.
"""

from __future__ import annotations

import logging
import time
from collections import OrderedDict, deque
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass, field
from threading import Condition, Thread

from torch import Tensor

from model.kv.block_bytes import pack, unpack
from model.kv.block_file import BlockFileError, supported
from model.kv.place import BlockPlace
from model.kv.tier_stats import SharedStats

_log = logging.getLogger(__name__)

_AHEAD = 4
"""Blocks that are read before they are asked for."""
_KNOWN = 1 << 16
"""Blocks whose tags there are remembered."""
_SETTLE_SECONDS = 5.0


@dataclass(eq=False)
class _Order:
    """What is to be done there for a block: to be kept with tags, to get tags, or, without any, to go."""

    key: bytes
    tensor: Tensor | None = None
    tags: set[str] = field(default_factory=set)
    drop: bool = False


class SharedTier:
    """Blocks in a place that is not ours alone. Safe to use from several threads."""

    def __init__(
        self,
        place: BlockPlace,
        fingerprint: bytes,
        queue_bytes: int,
        wait: float = 5.0,
        pause: float = 30.0,
    ) -> None:
        """`queue_bytes` of tensors wait to be sent at most; what comes above is dropped."""
        self._place, self._fingerprint = place, fingerprint
        self._limit, self._wait, self._pause = queue_bytes, wait, pause
        self._changed = Condition()
        self._queue: OrderedDict[bytes, _Order] = OrderedDict()
        self._current: _Order | None = None
        self._known: OrderedDict[bytes, set[str]] = OrderedDict()
        self._ahead: deque[bytes] = deque()
        self._reading: dict[bytes, Future[bytes | None]] = {}
        self._bytes = self._hits = self._misses = self._written = self._dropped = self._damaged = 0
        self._again = 0.0
        self._problem: str | None = None
        self._closed = False
        self._readers = ThreadPoolExecutor(_AHEAD, "kv-shared-reader")
        self._thread = Thread(target=self._run, name="kv-shared-sender", daemon=True)
        self._thread.start()

    def put(self, key: bytes, tensor: Tensor, tags: Iterable[str]) -> None:
        """Begin to send a block, which is not to be changed any more, unless it is known to be there."""
        with self._changed:
            waiting = self._queue.get(key)
            if key in self._known or (waiting is not None and (waiting.tensor is not None or waiting.drop)):
                self.tag(key, tags)
            elif not supported(tensor.dtype) or self._resting or self._bytes + tensor.nbytes > self._limit:
                self._dropped += 1
            else:
                self._bytes += tensor.nbytes
                self._enter(_Order(key, tensor, set(tags) | (waiting.tags if waiting else set())))

    def tag(self, key: bytes, tags: Iterable[str]) -> None:
        """Begin to add tags to a block, if it is there: what is purged by one of them has to be found."""
        with self._changed:
            new = set(tags) - self._known.get(key, set())
            waiting = self._queue.get(key)
            if waiting is not None:
                waiting.tags |= new  # for one that is to go they mean nothing
            elif new:
                self._enter(_Order(key, tags=new))

    def prefetch(self, keys: Sequence[bytes]) -> None:
        """Say which chain of blocks may be asked for next; replaces what was said before."""
        with self._changed:
            for key in self._reading.keys() - set(keys):
                self._reading.pop(key).cancel()
            self._ahead = deque(() if self._resting else keys)
            self._advance()

    def get(self, key: bytes) -> Tensor | None:
        """The block, checked; None where it is not there or can't be had now."""
        with self._changed:
            if self._resting:
                return None
            found = self._reading.pop(key, None) or self._read(key)
        tensor: Tensor | None = None
        try:
            content = found.result(self._wait)
            tensor = None if content is None else unpack(content, key, self._fingerprint)
        except BlockFileError as error:
            _log.warning("a shared block is not used: %s", error)
            self._damaged += 1
        except FutureTimeout:
            self._rest("it takes too long")
        except Exception as error:
            self._rest(str(error))
        with self._changed:
            if tensor is None:
                self._misses += 1
                self._known.pop(key, None)
                self._ahead.clear()
                return None
            self._hits += 1
            self._know(key, ())
            self._advance()
        return tensor

    def purge(self, tag: str) -> None:
        """Send nothing more that has the tag, and begin to remove what this engine sent with it.

        Waits a little for what is being sent. Whatever else has the tag there is found by it.
        """
        with self._changed:
            gone = {key for key, tags in self._known.items() if tag in tags}
            gone |= {key for key, order in self._queue.items() if tag in order.tags}
            if (current := self._current) is not None and tag in current.tags:
                gone.add(current.key)
            for key in gone:
                self._forget(key)
                self._queue[key] = _Order(key, drop=True)
            for key in gone & self._reading.keys():
                self._reading.pop(key).cancel()
            self._changed.notify_all()
            busy = current is not None and current.key in gone
            self._changed.wait_for(lambda: not busy or self._current is not current, _SETTLE_SECONDS)

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until all was sent or given up; False where the time was short."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._queue and self._current is None, timeout)

    def close(self, timeout: float) -> None:
        """Send what waits, for `timeout` seconds at most, and end; what is being sent is not waited for."""
        self.flush(timeout)
        with self._changed:
            self._closed = True
            self._queue.clear()
            self._reading.clear()
            self._changed.notify_all()
        self._readers.shutdown(wait=False, cancel_futures=True)
        self._thread.join(timeout)

    def stats(self) -> SharedStats:
        """Counts since the start."""
        with self._changed:
            return SharedStats(
                self._hits,
                self._misses,
                self._written,
                self._dropped,
                self._damaged,
                self._bytes,
                self._problem if self._resting else None,
            )

    @property
    def _resting(self) -> bool:
        return self._closed or time.monotonic() < self._again

    def _rest(self, problem: str) -> None:
        with self._changed:
            if not self._resting:
                _log.warning("the shared KV cache is left alone for %g s: %s", self._pause, problem)
            self._problem, self._again = problem, time.monotonic() + self._pause
            self._ahead.clear()

    def _enter(self, order: _Order) -> None:
        self._queue[order.key] = order
        self._changed.notify_all()

    def _forget(self, key: bytes) -> None:
        self._known.pop(key, None)
        if (order := self._queue.pop(key, None)) is not None and order.tensor is not None:
            self._bytes -= order.tensor.nbytes

    def _know(self, key: bytes, tags: Iterable[str]) -> None:
        self._known.setdefault(key, set()).update(tags)
        self._known.move_to_end(key)
        if len(self._known) > _KNOWN:
            self._known.popitem(last=False)

    def _advance(self) -> None:
        while self._ahead and len(self._reading) < _AHEAD:
            key = self._ahead.popleft()
            if key not in self._reading:
                self._reading[key] = self._read(key)

    def _read(self, key: bytes) -> Future[bytes | None]:
        return self._readers.submit(self._place.get, self._fingerprint, key)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._queue or self._closed)
                if self._closed:
                    return
                _, order = self._queue.popitem(last=False)
                self._current = order
            try:
                self._do(order)
            except Exception as error:  # whatever the place raises: a lost block costs time alone
                self._rest(str(error))
                self._dropped += order.tensor is not None
            with self._changed:
                if order.tensor is not None:
                    self._bytes -= order.tensor.nbytes
                self._current = order = None  # type: ignore[assignment]  # or its memory would stay
                self._changed.notify_all()

    def _do(self, order: _Order) -> None:
        key, mine = order.key, self._fingerprint
        if order.drop:
            self._place.drop(mine, [key])
            return
        if order.tensor is None:
            kept = self._place.tag(mine, key, order.tags)
        else:
            kept = self._place.put(mine, key, pack(key, mine, order.tensor), order.tags)
        with self._changed:
            purged = (again := self._queue.get(key)) is not None and again.drop
            self._written += kept and order.tensor is not None
            if kept and not purged:
                self._know(key, order.tags)
