"""What the prefix cache sees of its slower memory: the pool, then RAM, disk, a shared place.

A block's content is one CPU tensor [layers, 2, block_size, kv_heads, head_dim] under the chained hash of the
tokens that lead to it, with tags that say whose text it was read from. `put` copies nothing and waits for
nothing; files are written behind it. `purge` takes a tag's blocks out of every tier.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import suppress
from itertools import takewhile
from pathlib import Path
from threading import Condition

from torch import Tensor

from model.kv.block_file import supported
from model.kv.disk import DiskTier
from model.kv.memory import MemoryTier
from model.kv.place import BlockPlace
from model.kv.purges import Purges
from model.kv.shared import SharedTier
from model.kv.tier_stats import DiskStats, MemoryStats, TierStats
from model.kv.writer import Writer

_QUEUE_BYTES = 256 << 20
_READERS = min(4, os.cpu_count() or 1)
_AHEAD = 2 * _READERS
"""Blocks that are read before they are asked for."""


class Tiers:
    """KV blocks by hash, in RAM and on disk. Safe to use from several threads."""

    def __init__(
        self,
        memory_bytes: int,
        folder: Path | None,
        disk_bytes: int,
        fingerprint: bytes,
        *,
        place: BlockPlace | None = None,
        queue_bytes: int = _QUEUE_BYTES,
        pause: float = 30.0,
    ) -> None:
        """Open the tiers; what `folder` holds of earlier processes is there at once.

        A folder that cannot be used is no error: `stats` says why, and it is tried again.

        Args:
            memory_bytes: limit of the RAM tier; 0 for none.
            folder: for the files, this tier's alone; None for no disk tier. Made with mode 0700.
            disk_bytes: limit of the files' sizes; 0 for no disk tier.
            fingerprint: names everything that a block's bytes depend on besides its tokens; files of another
                are never read.
            place: where engines share what they have read; None for none.
            queue_bytes: most bytes that wait to be written.
            pause: seconds after which a disk that refused is tried again.
        """
        self._lock = Condition()
        self._memory = MemoryTier(max(0, memory_bytes))
        self._disk: DiskTier | None = None
        self._writer: Writer | None = None
        if folder is not None and disk_bytes > 0:
            self._disk = DiskTier(folder, disk_bytes, fingerprint, self._lock, pause)
            self._writer = Writer(self._disk, queue_bytes, self._lock, self._refill)
        self._shared = None if place is None else SharedTier(place, fingerprint, queue_bytes, pause=pause)
        self._readers = ThreadPoolExecutor(_READERS, "kv-reader")
        self._ahead: deque[bytes] = deque()
        self._reading: dict[bytes, Future[tuple[Tensor | None, int]]] = {}
        self._purges = Purges()
        self._hits = self._misses = 0

    @property
    def purges(self) -> int:
        """How many purges have begun: see `put`."""
        return self._purges.count

    def put(self, key: bytes, tensor: Tensor, tags: Iterable[str], since: int | None = None) -> bool:
        """Keep a block; returns at once. A block that is here already only gets the tags.

        Args:
            key: 32 bytes.
            tensor: on the CPU; it is not copied and must not be changed any more.
            tags: whose text the block holds or depends on.
            since: `purges` when the work began that led to this block, by default now. Where one of the tags
                was purged after that, the block is not kept.

        Returns:
            Whether it is kept, for the time being.
        """
        began = self._purges.count if since is None else since
        tags = set(tags)
        with self._lock:
            if self._purges.since(tags, began):
                return False
            live = self._tags(key)
            if live is None:
                live = tags
            else:
                self._add(key, live, tags)
            if key in self._memory:
                self._touch(key)
                return True
            tensor = tensor.detach()
            if not tensor.is_contiguous() or tensor.untyped_storage().nbytes() != tensor.nbytes:
                tensor = tensor.clone().contiguous()  # a view would keep all of the other tensor
            kept = self._memory.put(key, tensor, live)
            if self._shared:
                self._shared.put(key, tensor, tags)
            return self._queue(key, tensor, live) or kept

    def get(self, key: bytes) -> Tensor | None:
        """The block's content, not to be changed, or None; from below it is checked and moves up to RAM.

        What comes from other engines has no tags here yet: who asks for it adds its own.
        """
        with self._lock:
            began = self._purges.count
            self._touch(key)
            here = self._memory.get(key) or (self._writer and self._writer.get(key))
            if here:
                self._hits += 1
                return here.tensor
            ahead = self._reading.pop(key, None)
            self._advance()
        tensor: Tensor | None = None
        if ahead:
            with suppress(CancelledError):  # closed meanwhile
                tensor, began = ahead.result()
        elif self._disk:
            tensor = self._disk.read(key)
        with self._lock:
            tags = self._disk.tags(key) if self._disk else None
            if tensor is not None and tags is not None:
                if self._purges.since(tags, began):
                    self._misses += 1
                    return None
                self._memory.put(key, tensor, tags)
                return tensor
        tensor = self._shared.get(key) if self._shared else None
        with self._lock:
            if tensor is None:
                self._misses += 1
                return None
            live: set[str] = set()
            self._memory.put(key, tensor, live)
            self._queue(key, tensor, live)
            return tensor

    def contains(self, key: bytes) -> bool:
        """Whether `get` would find the block, as far as can be said without reading it."""
        with self._lock:
            return self._tags(key) is not None

    def tags(self, key: bytes) -> frozenset[str]:
        """The block's tags, from all who put or tagged it; empty where it is not here."""
        with self._lock:
            return frozenset(self._tags(key) or ())

    def prefetch(self, keys: Sequence[bytes]) -> None:
        """Say which chain of blocks will be asked for next: some are read from disk ahead of `get`.

        Ends at the first block that no tier has. Replaces what was said before; an empty sequence drops what
        was read ahead.
        """
        with self._lock:
            self._ahead = deque(takewhile(self.contains, keys))
            if self._shared:
                self._shared.prefetch(keys[len(self._ahead) :])
            for key in self._reading.keys() - set(self._ahead):
                self._reading.pop(key).cancel()
            self._advance()

    def touch(self, keys: Sequence[bytes]) -> None:
        """Count a use of a chain of blocks, given from its first to its last.

        The first becomes the most recent: a chain that is cut short at its end is still of use.
        """
        with self._lock:
            for key in reversed(keys):
                self._touch(key)

    def tag(self, key: bytes, tags: Iterable[str]) -> None:
        """Add tags to a block wherever it is; nothing happens where it is not.

        In a place of many engines they are a moment later.
        """
        with self._lock:
            live = self._tags(key)
            if live is not None:
                self._add(key, live, set(tags))
            elif self._shared:
                self._shared.tag(key, tags)

    def purge(self, tag: str) -> int:
        """Remove every block with this tag: from RAM, write queue and disk, those of earlier processes too.

        In a place of many engines, what this one sent goes a moment later; what else has the tag there is for
        its keeper to remove.

        Returns:
            How many blocks were removed; none is left when it returns.

        Raises:
            CacheError: a file could not be removed; everything else is.
        """
        with self._lock:
            self._purges.begin(tag)
            for key in list(self._reading):
                if tag in (self._tags(key) or ()):
                    self._reading.pop(key).cancel()
            gone = self._memory.purge(tag)
            if self._writer:
                gone |= self._writer.purge(tag)
        if self._shared:
            self._shared.purge(tag)
        if self._disk and self._writer:
            self._writer.settle()
            gone |= self._disk.purge(tag)
        return len(gone)

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until what was put is where it goes, as far as that takes it; False where time was short."""
        written = self._writer is None or self._writer.flush(timeout)
        return (self._shared is None or self._shared.flush(timeout)) and written

    def close(self, timeout: float = 5.0) -> None:
        """Write what waits, for `timeout` seconds at most; let go of RAM and folder."""
        with self._lock:
            self._ahead.clear()
        self._readers.shutdown(cancel_futures=True)
        if self._shared:
            self._shared.close(timeout)
        if self._writer and self._disk:
            self._writer.close(timeout)
            self._disk.close()
        with self._lock:
            self._reading.clear()
            self._memory = MemoryTier(0)

    def stats(self) -> TierStats:
        """Counts since the start and what is held now."""
        with self._lock:
            memory, disk, writer = self._memory, self._disk, self._writer
            return TierStats(
                misses=self._misses,
                memory=MemoryStats(self._hits, memory.blocks, memory.bytes, memory.limit, memory.evicted),
                disk=DiskStats(
                    hits=disk.hits,
                    misses=disk.misses,
                    files=disk.files,
                    bytes=disk.size,
                    limit=disk.limit,
                    queued_bytes=writer.bytes,
                    written=writer.written,
                    dropped=writer.dropped,
                    evicted=disk.evicted,
                    damaged=disk.damaged,
                    problem=disk.problem,
                )
                if disk and writer
                else None,
                shared=self._shared.stats() if self._shared else None,
            )

    def _tags(self, key: bytes) -> set[str] | None:
        """The live set of tags of a block; every tier that has the block has this same set."""
        held = self._memory.get(key) or (self._writer and self._writer.get(key))
        return held.tags if held else self._disk.tags(key) if self._disk else None

    def _add(self, key: bytes, live: set[str], tags: set[str]) -> None:
        new = tags - live
        live |= new
        if new and self._shared:
            self._shared.tag(key, new)
        if new and self._disk and self._writer:
            self._disk.tag(key, new)
            self._writer.wake()

    def _touch(self, key: bytes) -> None:
        self._memory.touch(key)
        if self._disk:
            self._disk.touch(key)

    def _queue(self, key: bytes, tensor: Tensor, tags: set[str]) -> bool:
        if not self._writer or not self._disk or not supported(tensor.dtype):
            return False
        if key in self._disk or self._writer.get(key):
            return True
        return self._writer.put(key, tensor, tags)

    def _refill(self) -> None:
        """Queue what was dropped while the queue was full or the disk refused, if RAM still has it."""
        while (writer := self._writer) and writer.missed:
            key = next(iter(writer.missed))
            held = self._memory.get(key)
            if held and writer.bytes + held.tensor.nbytes > writer.limit and writer.bytes:
                return
            del writer.missed[key]
            if held and held.tensor.nbytes <= writer.limit:
                self._queue(key, held.tensor, held.tags)

    def _advance(self) -> None:
        """Start reading the next blocks that are only on disk."""
        disk, began = self._disk, self._purges.count
        while disk and self._ahead and len(self._reading) < _AHEAD:
            key = self._ahead.popleft()
            above = key in self._memory or (self._writer and self._writer.get(key))
            if not above and key not in self._reading and key in disk:
                self._reading[key] = self._readers.submit(_read, disk, key, began)


def _read(disk: DiskTier, key: bytes, began: int) -> tuple[Tensor | None, int]:
    return disk.read(key), began
