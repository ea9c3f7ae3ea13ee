"""The disk tier: one file for each KV block in one folder, found again after a restart.

The folder belongs to one process at a time, which holds a lock on the file `lock` in it; the kernel frees
that lock however the process ends. Another process does without this tier until then, and looks now and then.
Blocks of other models stay until they are purged or the limit reaches them; they are never read.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from threading import Condition

from torch import Tensor

from model.errors import CacheError
from model.kv.block_file import (
    BlockFileError,
    Cancelled,
    file_size,
    head_bytes,
    read_block,
    read_head,
    tag_record,
    write_block,
)
from model.kv.disk_index import DiskIndex, Entry
from model.kv.folder import BlockFolder, remove, sync

_log = logging.getLogger(__name__)


class DiskTier:
    """Blocks in files by hash, in the order of their last use. Safe to use from several threads.

    Attributes:
        limit: most bytes of files.
        pause: seconds between a refusal of the file system and the next attempt.
        hits, misses: of `read`.
        damaged: files that were not what they should have been; they are removed.
        evicted: files that had to make room.
        unsynced: blocks to which tags were added since the last `sync`.
        problem: why nothing is written, None while all is well.
    """

    def __init__(
        self, folder: Path, limit: int, fingerprint: bytes, lock: Condition, pause: float = 30.0
    ) -> None:
        """Take the folder, if it is free, and find what is in it.

        Args:
            lock: guards the index; payloads are read and written without it.
            pause: see above.
        """
        self._folder, self._fingerprint, self._lock = BlockFolder(folder), fingerprint, lock
        self.limit, self.pause = limit, pause
        self.hits = self.misses = self.damaged = self.evicted = 0
        self.problem: str | None = None
        self._index = DiskIndex()
        self._again = 0.0
        self._purged_outside: set[str] = set()
        self.unsynced: set[bytes] = set()
        self.ready()

    def __contains__(self, key: bytes) -> bool:
        return self.tags(key) is not None

    @property
    def files(self) -> int:
        """Blocks that are there, those of other models included."""
        return len(self._index)

    @property
    def size(self) -> int:
        """Bytes of the files that are there."""
        return self._index.bytes

    def ready(self) -> bool:
        """Whether blocks can be written now; takes the folder where that has become possible."""
        with self._lock:
            if self._folder.deleted:
                self._release()  # the folder was deleted, and perhaps made anew
            if time.monotonic() < self._again:
                return False
            if not self._folder.held and not self._take():
                return False
            self.problem = None
            return True

    def tags(self, key: bytes) -> set[str] | None:
        """The live set of the block's tags; None where it is not here."""
        entry = self._index.get(key)
        return entry.tags if entry and entry.mine else None

    def touch(self, key: bytes) -> None:
        """Make the block, if it is here, the most recently used, after a restart as well."""
        with self._lock:
            if key in self:
                self._index.touch(key)
                self._folder.touch(key)

    def read(self, key: bytes) -> Tensor | None:
        """The block, checked; None where it is not here or is not what it should be."""
        with self._lock:
            entry = self._index.get(key)
        tensor: Tensor | None = None
        if entry and entry.mine:
            try:
                tensor = read_block(self._path(key), key, self._fingerprint)
            except (BlockFileError, PermissionError) as error:
                self._discard(key, entry, error)
            except FileNotFoundError:
                with self._lock:
                    self._index.forget(key, entry)
            except OSError as error:  # such as too many open files: no fault of this one
                _log.warning("a block could not be read from %s: %s", self._folder.path, error)
        with self._lock:
            # Evicted or purged while it was read: as if it had never been here.
            if tensor is None or self._index.get(key) is not entry:
                self.misses += 1
                return None
            self.hits += 1
            self.touch(key)
            return tensor

    def write(self, key: bytes, tensor: Tensor, tags: set[str], cancelled: Callable[[], bool]) -> bool:
        """Write a block and its tags; gives False where it was not, with the cause in `problem`.

        One thread at a time. Nothing is forced to the medium: a file that a power cut tore is a miss.

        Args:
            tags: the live set; what is added to it while the payload is written comes along.
            cancelled: asked now and then; True ends the attempt without a trace.
        """
        head = head_bytes(key, self._fingerprint, tensor)
        with self._lock:
            if not self.ready():
                return False
            written = set(tags)
            record = tag_record(key, written)
            size = file_size(head, tensor, record)
            if key in self or size > self.limit:
                return key in self
            self._make_room(size)
        try:
            self._folder.write(key, lambda handle: write_block(handle, head, tensor, record, cancelled))
            with self._lock:
                if cancelled():
                    raise Cancelled
                self._folder.publish(key)
                self._index.put(key, Entry(size, tags, mine=True))
                self._append(key, tags - written)
        except Cancelled:
            return False
        except OSError as error:
            self._stop(f"{error.strerror} in {self._folder.path}")
            return False
        finally:
            self._folder.discard(key)
        return True

    def tag(self, key: bytes, new: Iterable[str]) -> None:
        """Add to the file what the caller has added to the block's live set of tags.

        They are in the file when this returns and on the medium after the next `sync`.
        """
        with self._lock:
            if key in self:
                self._append(key, set(new))

    def purge(self, tag: str) -> set[bytes]:
        """Remove every file with this tag, whoever wrote it; gives the hashes.

        The index alone is not trusted: the header of every file that it does not know is read, and a file
        whose tags cannot be read is removed.

        Raises:
            CacheError: a file could not be removed.
        """
        with self._lock:
            gone = set()
            for key, entry in self._index.tagged(tag):
                self._index.forget(key, entry)
                gone.add(key)
            if not self._folder.held:
                self._purged_outside.add(tag)
        failed: OSError | None = None
        for key in self._folder.hashes(gone):
            # File by file, so that nobody waits for the lock until the last one is gone.
            with self._lock:
                try:
                    if key in self._index:  # known without the tag, or written anew since
                        continue
                    if key not in gone and tag not in self._folder.tags(key, tag):
                        continue
                    remove(self._path(key))
                    gone.add(key)
                except FileNotFoundError:
                    continue
                except OSError as error:
                    failed = error
        self._folder.sync()
        if failed:
            raise CacheError(
                f"cached text tagged {tag!r} is still in {self._folder.path} ({failed}); remove it by hand"
            )
        return gone

    def close(self) -> None:
        """Leave the folder to others; a closed tier has nothing."""
        with self._lock:
            self._again = float("inf")
            self._release()

    def sync(self) -> None:
        """Force added tags to the medium: a purge after a power cut must still find them."""
        with self._lock:
            keys, self.unsynced = self.unsynced, set()
        for key in keys:
            with suppress(OSError):
                sync(self._path(key))

    def _take(self) -> bool:
        """Lock the folder and index its files."""
        try:
            self._folder.take()
            self._folder.sweep()
            self._scan()
        except BlockingIOError:
            self._stop(f"{self._folder.path} is in use by another process")
            return False
        except OSError as error:
            self._release()
            self._stop(f"{error.strerror} in {self._folder.path}")
            return False
        self._purged_outside.clear()
        self._make_room(0)
        return True

    def _release(self) -> None:
        self._folder.release()
        self._index.fill(())

    def _scan(self) -> None:
        """Fill the index from the folder, oldest use first; remove what is damaged."""
        found: list[tuple[int, bytes, Entry]] = []
        for key in self._folder.blocks():
            path = self._path(key)
            try:
                head = read_head(path)
                if head.hash != key or head.tags & self._purged_outside:
                    raise BlockFileError("not the block of its name, or purged")
                entry = Entry(head.size, set(head.tags), head.fingerprint == self._fingerprint)
                found.append((path.stat().st_mtime_ns, key, entry))
            except FileNotFoundError:
                continue
            except (BlockFileError, OSError):
                self.damaged += 1
                remove(path)
        found.sort(key=lambda item: item[0])
        self._index.fill((key, entry) for _, key, entry in found)

    def _make_room(self, size: int) -> None:
        """Evict until `size` more bytes are within the limit."""
        for key, _ in self._index.beyond(self.limit - size):
            self.evicted += 1
            with suppress(OSError):
                remove(self._path(key))

    def _append(self, key: bytes, new: set[str]) -> None:
        entry, record = self._index.get(key), tag_record(key, new)
        if not new or entry is None:
            return
        try:
            self._folder.append(key, record)
        except OSError as error:
            # Without its tag the file would outlive the tag's purge.
            self._discard(key, entry, error)
            return
        self._index.grow(entry, len(record))
        self.unsynced.add(key)

    def _discard(self, key: bytes, entry: Entry, error: Exception) -> None:
        """Forget and remove a file that is no good."""
        with self._lock:
            if not self._index.forget(key, entry):
                return
            self.damaged += 1
            with suppress(OSError):
                remove(self._path(key))
        _log.warning("removed a block from %s: %s", self._folder.path, error)

    def _stop(self, problem: str) -> None:
        if problem != self.problem:
            _log.warning("the KV cache on disk does not write: %s", problem)
        self.problem, self._again = problem, time.monotonic() + self.pause

    def _path(self, key: bytes) -> Path:
        return self._folder.block(key)
