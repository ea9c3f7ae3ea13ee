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
import select
import signal
import struct
from collections.abc import Iterator
from pathlib import Path

from ingest import confine
from ingest.parsers.pdf_layout import Line
from ingest.parsers.pdf_lines import open_pdfium
from ingest.parsers.source import Source

_HEAD = struct.Struct("<II")
_PIPE_BYTES = 1 << 20
"""As far as the helper may be ahead: some hundred pages."""
_READ_BYTES = 1 << 18
_FREE, _OURS, _THEIRS = 0, 1, 2


class Helper:
    """The helper as the process sees it that it helps."""

    def __init__(self, pid: int, pipe: int, taken: mmap.mmap) -> None:
        self._pid = pid
        self._pipe = pipe
        self._taken = taken
        self._buffer = bytearray()

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
        while self._pid:
            ready, _, _ = select.select([self._pipe], [], [], None if wait else 0)
            if not ready:
                return
            data = os.read(self._pipe, _READ_BYTES)
            if not data:
                self.end()
                return
            self._buffer += data
            for page in self._complete():
                wait = False
                yield page

    def _complete(self) -> Iterator[tuple[int, list[Line]]]:
        at = 0
        while len(self._buffer) - at >= _HEAD.size:
            number, length = _HEAD.unpack_from(self._buffer, at)
            if len(self._buffer) - at - _HEAD.size < length:
                break
            at += _HEAD.size + length
            yield number, _unpacked(bytes(self._buffer[at - length : at]))
        del self._buffer[:at]

    def end(self) -> None:
        """Kill it and wait until it is gone; what it had taken is free again."""
        if not self._pid:
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)
        os.close(self._pipe)
        self._pid = 0


def fork_helper(path: Path, *, memory_bytes: int, seconds: int, max_pages: int) -> Helper | None:
    """Fork one that reads the PDF at `path`. Called before anything is given up: then no fork is possible.

    None where no process can be started: then there is no helper.
    """
    taken = mmap.mmap(-1, max(max_pages, 1))
    near, far = os.pipe()
    parent = os.getpid()
    try:
        pid = os.fork()
    except OSError:
        os.close(near)
        os.close(far)
        return None
    if pid == 0:
        try:
            os.close(near)
            os.dup2(2, 1)  # what a library prints must not come between the other one's frames
            confine.die_with_parent(parent)
            confine.limit_resources(memory_bytes, seconds)
            confine.forbid_system_calls()
            _help(path, far, taken)
        except BaseException:  # the other one meets what is wrong with the page, and says it
            os._exit(1)
        os._exit(0)
    os.close(far)
    with contextlib.suppress(OSError):  # a user's pipes may be limited: then it is less far ahead
        fcntl.fcntl(near, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
    return Helper(pid, near, taken)


def _help(path: Path, pipe: int, taken: mmap.mmap) -> None:
    opened = open_pdfium(Source("", path))
    if opened is None:
        return
    _, count, lines_of, _ = opened
    for number in range(min(count, len(taken))):
        if taken[number] != _FREE:
            continue
        taken[number] = _THEIRS
        packed = _packed(lines_of(number))
        message = memoryview(_HEAD.pack(number, len(packed)) + packed)
        while message:
            message = message[os.write(pipe, message) :]


def _packed(lines: list[Line]) -> bytes:
    # numbers of JSON are as exact as they are in memory; texts are as PDFium gives them, surrogates included
    return json.dumps(
        [(x.text, x.left, x.right, x.top, x.size, x.bold, x.italic, x.row, x.columns) for x in lines]
    ).encode()


def _unpacked(packed: bytes) -> list[Line]:
    lines = [Line(*values) for values in json.loads(packed)]
    for line in lines:
        line.columns = tuple(line.columns)  # JSON has no tuples
    return lines
