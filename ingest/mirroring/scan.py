"""What lies in a folder: the files that are documents, and what could not be looked at.

Nothing is opened here. A link to a file inside the folder is that file; links to folders, and links that lead
out, are left out, as is all that is no plain file.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from pathlib import Path

from ingest.mirroring.ignore import BadRules, Rules

LONGEST = 2000
"""Bytes of a path together with its root, more than which PostgreSQL can't keep in an index."""


@dataclass(frozen=True, slots=True)
class Found:
    """A file: `path` from the root with `/` between, and what tells it from another at the same place."""

    path: str
    size: int
    mtime_ns: int
    place: tuple[int, int]
    """Device and inode."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """A file or folder that can't be taken in, with a code and a sentence."""

    path: str
    code: str
    detail: str


@dataclass
class Scan:
    """The outcome of a walk. What is known below the folders `unseen` must not be taken for gone."""

    files: dict[str, Found] = field(default_factory=dict)
    left_out: int = 0
    """Files and folders that a rule leaves out; what lies in such a folder is not counted."""
    unseen: list[str] = field(default_factory=list)
    troubles: list[Trouble] = field(default_factory=list)

    def hides(self, path: str) -> bool:
        """Whether a path lies in a folder that could not be looked into."""
        return any(path == each or path.startswith(f"{each.rstrip('/')}/") for each in self.unseen)


def scan(root: Path, *, longest: int = LONGEST) -> Scan:
    """Walk through a folder, in the order of names. Raises OSError when the root itself can't be read."""
    found = Scan()
    real = Path(os.path.realpath(root))
    waiting: list[tuple[str, Rules]] = [("", Rules())]
    while waiting:
        prefix, rules = waiting.pop()
        folder = root / prefix
        try:
            inner = rules.inside(prefix, folder)
            with os.scandir(folder) as listed:
                entries = sorted(listed, key=lambda entry: entry.name)
        except (OSError, BadRules) as error:
            if not prefix:
                raise
            found.unseen.append(prefix)
            found.troubles.append(Trouble(prefix, "unreadable", said(error)))
            continue
        folders = []
        for entry in entries:
            path = prefix + entry.name
            try:
                if _is_folder(found, inner, entry, path):
                    folders.append((f"{path}/", inner))
                elif not entry.is_dir(follow_symlinks=False):
                    _take(found, inner, entry, path, (real, longest))
            except OSError as error:  # it can be there still: not to be taken for gone
                found.unseen.append(path)
                found.troubles.append(Trouble(path, "unreadable", said(error)))
        waiting += reversed(folders)
    return found


def _is_folder(found: Scan, rules: Rules, entry: os.DirEntry[str], path: str) -> bool:
    if not entry.is_dir(follow_symlinks=False):
        return False
    if rules.leave_out(path, is_folder=True):
        found.left_out += 1
        return False
    return True


def _take(found: Scan, rules: Rules, entry: os.DirEntry[str], path: str, limits: tuple[Path, int]) -> None:
    root, longest = limits
    if rules.leave_out(path, is_folder=False):
        found.left_out += 1
        return
    if entry.is_symlink():
        target = Path(os.path.realpath(entry.path))
        if not target.is_relative_to(root) or not target.is_file():
            found.left_out += 1
            return
    try:
        state = entry.stat()
    except FileNotFoundError:  # it went between the listing and now
        return
    if not stat.S_ISREG(state.st_mode):
        found.left_out += 1
        return
    fault = _name_fault(path, root, longest)
    if fault:
        found.troubles.append(Trouble(path.encode("utf-8", "replace").decode(), "bad_name", fault))
        return
    found.files[path] = Found(path, state.st_size, state.st_mtime_ns, (state.st_dev, state.st_ino))


def _name_fault(path: str, root: Path, longest: int) -> str | None:
    try:
        size = len(path.encode()) + len(os.fsencode(root))
    except UnicodeEncodeError:
        return "its name is not UTF-8; rename it"
    return f"its path has {size} bytes, at most {longest} can be kept; shorten it" if size > longest else None


def said(error: Exception) -> str:
    """What went wrong, for a person."""
    return error.strerror or str(error) if isinstance(error, OSError) else str(error)
