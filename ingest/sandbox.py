"""Parses a document in a process of its own, within limits, and takes its pages from a pipe.

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
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from ingest.errors import PARSE_CODES, ParseCancelled, ParseError, ParserKilled
from ingest.forking import SERVER, Child
from ingest.ocr import NO_OCR, Ocr
from ingest.parsers.base import Block, DocumentAssembler, ParsedDocument
from ingest.wire import FrameReader, WireError, read_blocks, read_json

_POLL_SECONDS = 0.1
_READ_BYTES = 1 << 18
_KEPT_STDERR = 4096


@dataclass(frozen=True, slots=True)
class ParseLimits:
    """What one document may cost: wall seconds, bytes of address space, code points of text, pages."""

    seconds: float = 120.0
    memory_bytes: int = 1 << 30
    max_characters: int = 50_000_000
    max_pages: int = 20_000
    ocr: Ocr = NO_OCR


def parse_document(
    path: Path,
    filename: str,
    limits: ParseLimits,
    on_progress: Callable[[int, int | None], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> ParsedDocument:
    """Parses the file at `path` in a child process.

    `on_progress(pages_done, pages_total)` is called after each page of a paged document; `cancelled` is asked
    ten times a second. Raises ParseError (see `PARSE_CODES`) and ParseCancelled. The child is gone when this
    returns, however it returns.
    """
    deadline = time.monotonic() + limits.seconds
    with tempfile.TemporaryDirectory(prefix="longleaf-parse-") as folder:
        child = _start(path, filename, limits, folder)
        try:
            return _Receiver(child, limits, deadline, on_progress, cancelled).run()
        finally:
            _kill(child)


def _start(path: Path, filename: str, limits: ParseLimits, folder: str) -> Child:
    specification = json.dumps(
        {
            "path": str(path.resolve()),
            "filename": filename,
            "memory_bytes": limits.memory_bytes,
            "seconds": max(1, round(limits.seconds + limits.ocr.seconds)),
            "max_pages": limits.max_pages,
            "max_characters": limits.max_characters,
            "ocr": asdict(limits.ocr),
        }
    )
    return SERVER.start(specification, folder)


def _kill(child: Child) -> None:
    """Ends the whole process group; the child is reaped when this returns."""
    child.end()


class _Receiver:
    """Reads the child's frames until the document is complete or something ends it."""

    def __init__(
        self,
        child: Child,
        limits: ParseLimits,
        deadline: float,
        on_progress: Callable[[int, int | None], None] | None,
        cancelled: Callable[[], bool] | None,
    ) -> None:
        self._child = child
        self._limits = limits
        self._deadline = deadline
        self._on_progress = on_progress
        self._cancelled = cancelled
        self._frames = FrameReader()
        self._assembler: DocumentAssembler | None = None
        self._pages_total: int | None = None
        self._blocks: list[Block] = []
        self._stderr = b""
        self._document: ParsedDocument | None = None
        self._reads_pictures = False

    def run(self) -> ParsedDocument:
        """The document. Raises ParseError, ParseCancelled."""
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
                if self._document is not None:
                    return self._document
        raise self._death()

    def _take_stderr(self, data: bytes) -> None:
        self._stderr = (self._stderr + data)[-_KEPT_STDERR:]

    def _take(self, data: bytes) -> None:
        try:
            for kind, payload in self._frames.feed(data):
                self._frame(kind, payload)
        except (WireError, ValueError, TypeError, KeyError) as error:
            raise ParseError(
                "corrupt", f"The parser sent what cannot be read ({error}). Export the document again."
            ) from error

    def _frame(self, kind: str, payload: bytes) -> None:
        if kind == "E":
            raise self._reported(read_json(payload))
        if kind == "H":
            self._header(read_json(payload))
            return
        if kind == "O":
            if not self._reads_pictures:
                self._deadline += self._limits.ocr.seconds
            self._reads_pictures = True
            return
        assembler = self._assembler
        if assembler is None:
            raise WireError(f"frame {kind} before the header")
        if kind == "T":
            assembler.add_text(payload.decode("utf-8"))
            if assembler.characters > self._limits.max_characters:
                raise ParseError(
                    "too_large",
                    f"The document holds over {self._limits.max_characters} characters of text. Split it.",
                )
        elif kind == "B":
            self._blocks += read_blocks(payload)
        elif kind == "P":
            self._end_page(assembler)
        else:
            self._document = _checked(assembler.finish(), self._limits.ocr, self._reads_pictures)

    def _header(self, header: dict[str, object]) -> None:
        if self._assembler is not None:
            raise WireError("two headers")
        title, total = header["title"], header["pages_total"]
        if not isinstance(header["media_type"], str) or not isinstance(title, str | None):
            raise WireError("header with wrong types")
        if not isinstance(total, int | None) or (total or 0) > self._limits.max_pages:
            raise WireError(f"header with {total} pages")
        self._pages_total = total
        self._assembler = DocumentAssembler(header["media_type"], title, paged=total is not None)

    def _end_page(self, assembler: DocumentAssembler) -> None:
        assembler.end_page(self._blocks)
        self._blocks = []
        if self._pages_total is None:
            return
        if assembler.pages_done > self._pages_total:
            raise WireError("more pages than announced")
        if self._on_progress is not None:
            self._on_progress(assembler.pages_done, self._pages_total)

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


def _checked(document: ParsedDocument, ocr: Ocr, reads_pictures: bool) -> ParsedDocument:
    """A document without text is a failure that says so."""
    if document.text.strip():
        return document
    if document.pages and document.media_type != "application/pdf" and not reads_pictures:
        raise ParseError("no_text", "The document has pages but no text, pictures at most. Add some text.")
    if document.pages:
        count = f"{len(document.pages)} page{'s' if len(document.pages) > 1 else ''}"
        raise ParseError(
            "no_text",
            f"The document has {count} but no text: it is probably scanned. {_no_text_remedy(ocr)}",
        )
    raise ParseError("empty", "The document holds no text. Upload a file with content.")


def _no_text_remedy(ocr: Ocr) -> str:
    if not ocr.folder:
        return ocr.remedy
    return (
        f"OCR ({ocr.languages}) found none in its pictures either. LONGLEAF_OCR_LANGUAGES sets the languages."
    )
