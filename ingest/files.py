"""Files that outlive a loss of power: copies, links, folders; and what is left of a file nobody needs."""

from __future__ import annotations

import logging
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from rag.ids import new_id

log = logging.getLogger(__name__)

_PIECE = 1024 * 1024


def sync_folder(path: Path) -> None:
    """Make renames and removals in the folder survive a loss of power."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_if_possible(path: Path) -> None:
    """Remove a file that nobody needs any more; a disk that refuses leaves it to a later start."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        log.warning("%s stays until a later start removes it: %s", path, error)


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files in a folder; 0 where they go while they are looked at."""
    try:
        if path.is_file():
            return path.stat().st_size
        return sum(entry.stat().st_size for entry in path.rglob("*") if entry.is_file())
    except OSError:  # files of a running service come and go
        return 0


@contextmanager
def passing_file() -> Iterator[tuple[IO[bytes], Path]]:
    """A file to write, and a path under which other processes of this user read it meanwhile.

    On Linux it has no name in any folder, so that nothing of it is left if this process is killed.
    """
    if sys.platform == "linux":
        with tempfile.TemporaryFile() as file:
            yield file, Path(f"/proc/{os.getpid()}/fd/{file.fileno()}")
    else:
        with tempfile.NamedTemporaryFile() as named:
            yield named.file, Path(named.name)


def copy_durably(source: Path, target: Path) -> None:
    """Copy bytes and wait until they are on the disk. Raises OSError."""
    with source.open("rb") as reading, target.open("wb") as writing:
        shutil.copyfileobj(reading, writing, _PIECE)
        writing.flush()
        os.fsync(writing.fileno())


def link(source: Path, target: Path) -> bool:
    """Let the same file have another name; False on another file system, or one without links.

    Raises FileNotFoundError for a source that is not there.
    """
    try:
        os.link(source, target)
    except FileNotFoundError:
        raise
    except OSError:
        return False
    return True


def twin(source: Path, target: Path) -> None:
    """Let the same bytes lie at `target` as well, durably, in place of what lies there. Raises OSError."""
    draft = target.with_name(f".{target.name}.{new_id('new')}")
    try:
        if not link(source, draft):
            copy_durably(source, draft)
        os.replace(draft, target)
    finally:
        draft.unlink(missing_ok=True)
    sync_folder(target.parent)
