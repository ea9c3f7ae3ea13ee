"""Locks between processes that the operating system drops when their holder dies, however it dies."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from rag.ids import new_id


@contextmanager
def folder_lock(path: Path, *, exclusive: bool) -> Iterator[None]:
    """Hold the lock file at `path`, shared or exclusive; waits for those who hold it otherwise."""
    with _opened(path, os.O_RDWR | os.O_CREAT) as descriptor:
        fcntl.flock(descriptor, fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH)
        yield


@contextmanager
def file_lock(path: Path) -> Iterator[bool]:
    """Hold the lock file at `path` alone, without waiting; gives False where another process holds it."""
    with _opened(path, os.O_RDWR | os.O_CREAT) as descriptor:
        yield lock_at_once(descriptor)


@contextmanager
def _opened(path: Path, flags: int = os.O_RDWR) -> Iterator[int]:
    """The descriptor of a lock file, made with its folder for O_CREAT, or of a folder; its closing drops the
    lock."""
    if flags & os.O_CREAT:
        path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, flags, 0o600)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def lock_at_once(descriptor: int, *, exclusive: bool = True) -> bool:
    """Lock an open file without waiting; False where somebody holds it otherwise."""
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def create_locked(path: Path) -> int:
    """Make the file at `path` and hold its lock; returns the descriptor, whose closing drops the lock."""
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        # A sweep may have taken the file for a dead one's between the two calls.
        if os.fstat(descriptor).st_nlink:
            return descriptor
        os.close(descriptor)


def remove_if_dead(path: Path) -> bool:
    """Remove the file unless somebody alive holds its lock; True when it is gone."""
    try:
        with _opened(path) as descriptor:
            if not lock_at_once(descriptor):
                return False
            path.unlink(missing_ok=True)
    except FileNotFoundError:
        pass
    return True


@contextmanager
def held_folder(parent: Path, prefix: str) -> Iterator[Path]:
    """A new folder in `parent`, which is gone afterwards with all that is in it.

    What killed processes left goes before it is made. Raises OSError.
    """
    remove_dead_folders(parent, prefix)
    name = new_id("work")
    draft, path = parent / f".{name}", parent / f"{prefix}{name}"
    draft.mkdir(mode=0o700, parents=True)
    with _opened(draft, os.O_RDONLY) as descriptor:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        # It gets the name that a sweep looks for once it is held.
        draft.rename(path)
        try:
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)


def remove_dead_folders(parent: Path, prefix: str) -> list[str]:
    """Remove the folders of `held_folder` whose makers are dead; returns their names."""
    removed = []
    for path in sorted(parent.glob(f"{prefix}*")):
        # It may have gone meanwhile, or be another user's.
        with suppress(OSError), _opened(path, os.O_RDONLY) as descriptor:
            if lock_at_once(descriptor):
                shutil.rmtree(path, ignore_errors=True)
                removed.append(path.name)
    return removed


def holder_is_dead(path: Path) -> bool:
    """True when the file is there and nobody holds its lock; without the file nothing is known: False."""
    try:
        with _opened(path) as descriptor:
            return lock_at_once(descriptor, exclusive=False)
    except FileNotFoundError:
        return False
