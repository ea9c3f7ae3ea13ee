"""Parses a document in a process of its own, within limits, and takes its pages from a pipe."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

from ingest.errors import ParseError
from ingest.forking import Child
from ingest.limits import ParseLimits, helper_bytes
from ingest.ocr import Ocr
from ingest.parsers.base import Block, DocumentAssembler, ParsedDocument
from ingest.receiving import Receiver, reading_child
from ingest.sniff import says_pdf
from ingest.wire import WireError, read_blocks, read_json

_WORTH_BYTES = 256 << 10
"""A smaller PDF is read before a second process has opened it."""


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
    helper = {"helper_bytes": helper_bytes(limits.memory_bytes) if _is_worth_helping(path) else 0}
    with reading_child(path, filename, limits, helper) as child:
        return _Documents(child, limits, deadline, on_progress, cancelled).run()


def _is_worth_helping(path: Path) -> bool:
    """Whether the file is a PDF of some size, and there is a core for a second process."""
    if sys.platform != "linux" or len(os.sched_getaffinity(0)) < 2 or path.stat().st_size < _WORTH_BYTES:
        return False
    with path.open("rb") as file:
        return says_pdf(file.read(1024))


class _Documents(Receiver[ParsedDocument]):
    """Puts a document together from its frames."""

    def __init__(
        self,
        child: Child,
        limits: ParseLimits,
        deadline: float,
        on_progress: Callable[[int, int | None], None] | None,
        cancelled: Callable[[], bool] | None,
    ) -> None:
        super().__init__(child, limits, deadline, cancelled)
        self._on_progress = on_progress
        self._assembler: DocumentAssembler | None = None
        self._pages_total: int | None = None
        self._blocks: list[Block] = []

    def _frame(self, kind: str, payload: bytes) -> None:
        if kind == "H":
            self._header(read_json(payload))
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
        elif kind == "Z":
            self._result = _checked(assembler.finish(), self._limits.ocr, self._reads_pictures)
        else:
            raise WireError(f"frame {kind} of something else")

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
