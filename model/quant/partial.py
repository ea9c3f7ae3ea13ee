"""A conversion under way: the folder that an interrupted run leaves, and which of its files are finished."""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
import shutil
from contextlib import suppress
from pathlib import Path

from model.errors import CheckpointError

_log = logging.getLogger(__name__)
_RECORD = "record.json"


class PartialFolder:
    """`.TARGET.partial` beside a target: its future content in `files`, and a record of what is finished.

    A finished file is recorded with its digest once the disk holds it; whatever else a run that was killed
    has left is removed. One process at a time may hold the folder.

    Attributes:
        files: the folder that becomes the target.
        kept: bytes of finished files that an earlier run has left.
    """

    def __init__(self, target: Path, identity: str) -> None:
        """Take up what an earlier run of the same conversion has left, or begin.

        Args:
            identity: of source, settings and arithmetic; what was made of others is removed, with a warning.

        Raises:
            CheckpointError: another process writes this target.
            OSError: the folder cannot be written.
        """
        self._target, self._identity = target, identity
        self.path = target.absolute().with_name(f".{target.name}.partial")
        self.files = self.path / "files"
        self.path.mkdir(mode=0o755, exist_ok=True)
        self._lock = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._finished = self._take_up()
        except BaseException as error:
            os.close(self._lock)
            if isinstance(error, BlockingIOError):
                raise CheckpointError(f"another process is writing {target}") from error
            raise
        self.kept = sum((self.files / name).stat().st_size for name in self._finished)

    def has(self, name: str) -> bool:
        """Whether this file is finished."""
        return name in self._finished

    def finish(self, name: str) -> None:
        """Have the disk hold a file of `files`, and record that it is whole.

        Raises:
            OSError: the disk refused.
        """
        path = self.files / name
        path.chmod(0o644)  # the library that wrote it leaves it to its owner alone
        _sync(path)
        _sync(self.files)
        self._finished[name] = _digest(path)
        self._record()

    def publish(self) -> None:
        """Give the folder the target's name.

        Raises:
            OSError: the target has come to be meanwhile.
        """
        for path in self.files.iterdir():
            _sync(path)
        _sync(self.files)
        self.files.rename(self._target)
        self.discard()

    def discard(self) -> None:
        """Remove everything."""
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._lock)

    def leave(self) -> None:
        """Let go; finished files stay for the next run, and it is said where."""
        if not self._finished:
            self.discard()
            return
        _log.warning(
            "finished files of %s are kept in %s: the same command goes on from there",
            self._target,
            self.path,
        )
        os.close(self._lock)

    def _take_up(self) -> dict[str, str]:
        finished = self._read()
        self.files.mkdir(mode=0o755, exist_ok=True)
        found = {path.name: path for path in self.files.iterdir()}
        finished = {
            name: digest
            for name, digest in finished.items()
            if name in found and _digest(found[name]) == digest
        }
        for name in found.keys() - finished.keys():
            found[name].unlink()
        return finished

    def _read(self) -> dict[str, str]:
        """Names and digests in the record; nothing where it is of another conversion."""
        if not (self.path / _RECORD).exists():
            return {}
        with suppress(OSError, ValueError, KeyError, TypeError):
            record = json.loads((self.path / _RECORD).read_text("utf-8"))
            if record["identity"] == self._identity:
                return {str(name): str(digest) for name, digest in record["finished"].items()}
        _log.warning("%s was begun from another source or with other settings: starting afresh", self._target)
        return {}

    def _record(self) -> None:
        half = self.path / f"{_RECORD}.half"
        half.write_text(json.dumps({"identity": self._identity, "finished": self._finished}), "utf-8")
        _sync(half)
        half.rename(self.path / _RECORD)


def identity(source: Path, *settings: object) -> str:
    """64 hex digits of a source's files (names, sizes, times of change) and of everything else given."""
    paths = sorted(source.rglob("[!.]*")) if source.is_dir() else [source]
    files = [
        (path.name, (status := path.stat()).st_size, status.st_mtime_ns) for path in paths if path.is_file()
    ]
    return hashlib.sha256(repr((files, settings)).encode()).hexdigest()


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
