"""Starts a child that reads a document, takes frames from its pipe, and says what its death means.

The child is forked from a process that has loaded the parsers and seen no document (`forking.py`), with an
empty environment, in an empty folder, in a process group of its own that is killed as a whole. What it sends
is checked; what kills it becomes an error code.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import IO, Generic, TypeVar

from ingest.errors import PARSE_CODES, ParseCancelled, ParseError, ParserKilled
from ingest.forking import SERVER, Child
from ingest.limits import ParseLimits
from ingest.wire import FrameReader, WireError, read_json

_POLL_SECONDS = 0.1
_READ_BYTES = 1 << 18
_KEPT_STDERR = 4096

Result = TypeVar("Result")


@contextmanager
def reading_child(
    path: Path, filename: str, limits: ParseLimits, wanted: Mapping[str, object] | None = None
) -> Iterator[Child]:
    """A child that reads the file at `path` within the limits; `wanted` says what of it, if not its text.

    The child is gone at the end, however that comes. Raises OSError where no process can be started.
    """
    specification = {
        "path": str(path.absolute()),
        "filename": filename,
        "memory_bytes": limits.memory_bytes,
        "seconds": max(1, round(limits.seconds + limits.ocr.seconds)),
        "max_pages": limits.max_pages,
        "max_characters": limits.max_characters,
        "ocr": asdict(limits.ocr),
        **(wanted or {}),
    }
    with tempfile.TemporaryDirectory(prefix="longleaf-parse-") as folder:
        child = SERVER.start(json.dumps(specification), folder)
        try:
            yield child
        finally:
            child.end()


class Receiver(ABC, Generic[Result]):
    """Reads a child's frames until what it makes is complete or something ends it."""

    def __init__(
        self,
        child: Child,
        limits: ParseLimits,
        deadline: float,
        cancelled: Callable[[], bool] | None = None,
    ) -> None:
        """`deadline` is of the monotonic clock; `cancelled` is asked ten times a second."""
        self._child = child
        self._limits = limits
        self._deadline = deadline
        self._cancelled = cancelled
        self._frames = FrameReader()
        self._stderr = b""
        self._result: Result | None = None
        self._reads_pictures = False

    @abstractmethod
    def _frame(self, kind: str, payload: bytes) -> None:
        """Take a frame that is neither an error nor about OCR; the last one sets `_result`."""

    def run(self) -> Result:
        """What the child makes. Raises ParseError, ParseCancelled."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._child.stdout, selectors.EVENT_READ, self._take)
            selector.register(self._child.stderr, selectors.EVENT_READ, self._take_stderr)
            while selector.get_map():
                if self._cancelled is not None and self._cancelled():
                    raise ParseCancelled("Parsing was cancelled.")
                remaining = self._deadline - time.monotonic()
                if remaining <= 0:
                    raise self._timeout()
                for key, _ in selector.select(min(_POLL_SECONDS, remaining)):
                    pipe: IO[bytes] = key.fileobj  # type: ignore[assignment]  # registered above
                    data = os.read(pipe.fileno(), _READ_BYTES)
                    if not data:
                        selector.unregister(pipe)
                    else:
                        key.data(data)
                if self._result is not None:
                    return self._result
        raise self._death()

    def _take_stderr(self, data: bytes) -> None:
        self._stderr = (self._stderr + data)[-_KEPT_STDERR:]

    def _take(self, data: bytes) -> None:
        try:
            for kind, payload in self._frames.feed(data):
                self._framed(kind, payload)
        except (WireError, ValueError, TypeError, KeyError) as error:
            raise ParseError(
                "corrupt", f"The parser sent what cannot be read ({error}). Export the document again."
            ) from error

    def _framed(self, kind: str, payload: bytes) -> None:
        if kind == "E":
            raise self._reported(read_json(payload))
        if kind == "O":
            if not self._reads_pictures:
                self._deadline += self._limits.ocr.seconds
            self._reads_pictures = True
            return
        self._frame(kind, payload)

    def _reported(self, error: dict[str, object]) -> ParseError:
        code, detail = error.get("code"), error.get("detail")
        if code == "out_of_memory":
            return self._out_of_memory()
        if code not in PARSE_CODES or not isinstance(detail, str):
            raise WireError(f"error with code {code!r}")
        return ParseError(code, detail)  # type: ignore[arg-type]  # checked against PARSE_CODES

    def _death(self) -> ParseError:
        """What the way in which the child ended says."""
        status = self._child.wait()
        if status in (-signal.SIGXCPU, -signal.SIGALRM):
            return self._timeout()
        lowered = self._stderr.lower()
        starved = any(
            sign in lowered for sign in (b"bad_alloc", b"memoryerror", b"out of memory", b"cannot allocate")
        )
        if starved or status in (-signal.SIGTRAP, -signal.SIGABRT, -signal.SIGILL):
            return self._out_of_memory()
        if status == -signal.SIGKILL:
            return ParserKilled(
                "out_of_memory",
                f"Reading was killed, as happens when a machine runs out of memory; one document's limit is "
                f"{self._limits.memory_bytes >> 20} MiB. Split the document, or give the machine more.",
            )
        return ParseError(
            "corrupt",
            f"The document crashes its reader (status {status}). Export it again with another program.",
        )

    def _timeout(self) -> ParseError:
        return ParseError(
            "timeout",
            f"Reading took longer than {self._allowed:g} seconds. Split the document or simplify it.",
        )

    @property
    def _allowed(self) -> float:
        return self._limits.seconds + (self._limits.ocr.seconds if self._reads_pictures else 0.0)

    def _out_of_memory(self) -> ParseError:
        return ParseError(
            "out_of_memory",
            f"Reading needs more than {self._limits.memory_bytes >> 20} MiB of memory. Split the document.",
        )
