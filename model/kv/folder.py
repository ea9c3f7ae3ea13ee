"""The folder of the disk tier: whose it is, which files in it are blocks, how they go."""

from __future__ import annotations

import fcntl
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from model.errors import CacheError
from model.kv.block_file import BlockFileError, read_head

_NAME = re.compile(r"([0-9a-f]{64})\.(kv|tmp)")


class BlockFolder:
    """One folder, which one process at a time may hold. Not locked between threads: its owner is.

    Attributes:
        path: the folder; whatever in it is not named like a block is left alone.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._handle: int | None = None

    @property
    def held(self) -> bool:
        """Whether this process holds the folder."""
        return self._handle is not None

    @property
    def deleted(self) -> bool:
        """Whether the folder that this process holds is no longer there, though one of its name may be."""
        return self._handle is not None and os.fstat(self._handle).st_nlink == 0

    def take(self) -> None:
        """Make the folder if need be (mode 0700) and hold it; the kernel lets go when the process ends.

        Raises:
            BlockingIOError: another process holds it.
            OSError: the file system refused.
        """
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        handle = os.open(self.path / "lock", flags, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(handle)
            raise
        self._handle = handle

    def release(self) -> None:
        """Let go."""
        if self._handle is not None:
            os.close(self._handle)
        self._handle = None

    def block(self, key: bytes) -> Path:
        """Where the block's file is, or would be."""
        return self.path / f"{key.hex()}.kv"

    def write(self, key: bytes, fill: Callable[[int], None]) -> None:
        """Make a new file by `fill`, which gets its handle; then `publish` it, or `discard` it.

        Raises:
            OSError: the file system refused.
        """
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
        handle = os.open(self._unfinished(key), flags, 0o600)
        try:
            fill(handle)
        finally:
            os.close(handle)

    def discard(self, key: bytes) -> None:
        """Remove what `write` made, unless it was published."""
        with suppress(OSError):
            remove(self._unfinished(key))

    def publish(self, key: bytes) -> None:
        """Give the file that was written the block's name.

        Raises:
            OSError: the file system refused.
        """
        self._unfinished(key).rename(self.block(key))

    def append(self, key: bytes, record: bytes) -> None:
        """Add to the end of a block's file.

        Raises:
            OSError: there is no such file, or the file system refused.
        """
        handle = os.open(self.block(key), os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            if os.write(handle, record) != len(record):
                raise OSError("the record was cut short")
        finally:
            os.close(handle)

    def touch(self, key: bytes) -> None:
        """Make a block's file, if it is there, the one that was used last."""
        now = time.time_ns()
        with suppress(OSError):
            os.utime(self.block(key), ns=(now, now))

    def blocks(self) -> list[bytes]:
        """Hashes of the blocks whose files are there.

        Raises:
            OSError: the folder cannot be listed.
        """
        return [key for key, path in self._listed() if path.suffix == ".kv"]

    def hashes(self, known: set[bytes]) -> Iterator[bytes]:
        """Hashes that may have a file: the known ones, then those that are listed.

        Raises:
            CacheError: the folder cannot be listed.
        """
        yield from list(known)
        try:
            found = self.blocks()
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            raise CacheError(f"{self.path} cannot be listed ({error}); remove it by hand") from error
        yield from set(found) - known

    def tags(self, key: bytes, unreadable: str) -> frozenset[str]:
        """The tags of a block by its file; `unreadable` where they cannot be read."""
        try:
            return read_head(self.block(key)).tags
        except (BlockFileError, PermissionError):
            return frozenset((unreadable,))

    def sweep(self) -> None:
        """Remove what a crash left of unfinished files.

        Raises:
            OSError: the file system refused.
        """
        for _, path in self._listed():
            if path.suffix == ".tmp":
                remove(path)

    def sync(self) -> None:
        """Force removals to the medium: a power cut must not bring a purged file back."""
        with suppress(OSError):
            sync(self.path)

    def _unfinished(self, key: bytes) -> Path:
        return self.block(key).with_suffix(".tmp")

    def _listed(self) -> Iterator[tuple[bytes, Path]]:
        with os.scandir(self.path) as entries:
            for entry in entries:
                name = _NAME.fullmatch(entry.name)
                if name and not entry.is_dir(follow_symlinks=False):
                    yield bytes.fromhex(name[1]), Path(entry.path)


def remove(path: Path) -> None:
    """Unlink; where that is refused, empty the file at least.

    Raises:
        OSError: neither worked, or there is no such file.
    """
    try:
        path.unlink()
    except FileNotFoundError:
        raise
    except OSError:
        os.truncate(path, 0)


def sync(path: Path) -> None:
    """Force a file or folder to the medium.

    Raises:
        OSError: the file system refused.
    """
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
