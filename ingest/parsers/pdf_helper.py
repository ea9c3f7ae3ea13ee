"""A second process that reads pages of the same PDF, where the machine has a core to spare.

It is forked from the process that reads the document before either has opened it, and gives up the same
things. It takes pages that nobody has taken yet and sends their lines; whatever happens to it, the other
reads what is left by itself, so that what comes out never depends on it.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import mmap
import os
import signal
from collections.abc import Iterator
from multiprocessing.connection import Connection, Pipe
from pathlib import Path

from ingest import confine
from ingest.parsers.pdf_layout import Line
from ingest.parsers.pdf_lines import open_pdfium
from ingest.parsers.source import Source

_PIPE_BYTES = 1 << 20
"""As far as the helper may be ahead: some hundred pages."""
_FREE, _OURS, _THEIRS = 0, 1, 2


class Helper:
    """The helper as the process sees it that it helps."""

    def __init__(self, pid: int, pipe: Connection, taken: mmap.mmap) -> None:
        self._pid = pid
        self._pipe = pipe
        self._taken = taken

    def take(self, number: int) -> bool:
        """Take a page (from 0), so that the helper leaves it; False where the helper has it.

        Both may take a page in the same moment: then both read it, which costs time only.
        """
        if self._pid and self._taken[number] == _THEIRS:
            return False
        self._taken[number] = _OURS
        return True

    def received(self, *, wait: bool) -> Iterator[tuple[int, list[Line]]]:
        """Pages that have come, with their lines; with `wait` at least one unless the helper has gone."""
        while self._pid and self._pipe.poll(None if wait else 0):
            try:
                number, lines = _unpacked(self._pipe.recv_bytes())
            except (EOFError, OSError):  # it is gone, maybe in the middle of a page
                self.end()
                return
            wait = False
            yield number, lines

    def end(self) -> None:
        """Kill it and wait until it is gone; what it had taken is free again."""
        if not self._pid:
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)
        self._pipe.close()
        self._pid = 0


def fork_helper(path: Path, *, memory_bytes: int, seconds: int, max_pages: int) -> Helper | None:
    """Fork one that reads the PDF at `path`. Called before anything is given up: then no fork is possible.

    None where no process can be started: then there is no helper.
    """
    taken = mmap.mmap(-1, max(max_pages, 1))
    near, far = Pipe(duplex=False)
    parent = os.getpid()
    try:
        pid = os.fork()
    except OSError:
        near.close()
        far.close()
        return None
    if pid == 0:
        try:
            near.close()
            os.dup2(2, 1)  # what a library prints must not come between the other one's frames
            confine.die_with_parent(parent)
            confine.limit_resources(memory_bytes, seconds)
            confine.forbid_system_calls()
            _help(path, far, taken)
        except BaseException:  # the other one meets what is wrong with the page, and says it
            os._exit(1)
        os._exit(0)
    far.close()
    with contextlib.suppress(OSError):  # a user's pipes may be limited: then it is less far ahead
        fcntl.fcntl(near.fileno(), fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
    return Helper(pid, near, taken)


def _help(path: Path, pipe: Connection, taken: mmap.mmap) -> None:
    opened = open_pdfium(Source("", path))
    if opened is None:
        return
    _, count, lines_of, _ = opened
    for number in range(min(count, len(taken))):
        if taken[number] != _FREE:
            continue
        taken[number] = _THEIRS
        pipe.send_bytes(_packed(number, lines_of(number)))


def _packed(number: int, lines: list[Line]) -> bytes:
    # numbers of JSON are as exact as they are in memory; texts are as PDFium gives them, surrogates included
    rows = [(x.text, x.left, x.right, x.top, x.size, x.bold, x.italic, x.row, x.columns) for x in lines]
    return json.dumps((number, rows)).encode()


def _unpacked(packed: bytes) -> tuple[int, list[Line]]:
    number, rows = json.loads(packed)
    lines = [Line(*row) for row in rows]
    for line in lines:
        line.columns = tuple(line.columns)  # JSON has no tuples
    return number, lines
