"""PDF, page by page. PDFium reads; pypdf is asked where PDFium's text reads badly or is missing.

Which reader: up to five pages spread over the file are read with PDFium. Where their legibility is at least
0.95 PDFium is taken without asking anybody. Otherwise pypdf reads the same pages (within a few seconds), and
is taken when `legibility × characters` is more than a tenth above PDFium's. A page without legible text is
read by OCR, where that is installed.
"""

from __future__ import annotations

import signal
import types
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pypdfium2

from ingest.errors import ParseError
from ingest.parsers.base import ParsedPage, Reading
from ingest.parsers.builder import collapse
from ingest.parsers.legibility import legibility
from ingest.parsers.pdf_ahead import PagesAhead
from ingest.parsers.pdf_extras import Form, Outline, outline_of, with_attachments, with_values
from ingest.parsers.pdf_layout import LayoutState, build_page
from ingest.parsers.pdf_lines import Late, open_pdfium, open_pypdf
from ingest.parsers.pdf_pictures import PagePictures
from ingest.parsers.source import Context, Source

GOOD = 0.95
_SAMPLE_PAGES = 5
_SECOND_OPINION_SECONDS = 10
_COVER_OF_MORE_THAN = 4


def read(source: Source, context: Context) -> Reading:
    """A reading of a PDF. Raises ParseError: `encrypted`, `corrupt`, `empty` (no page), `too_large`."""
    opened = open_pdfium(source)
    document, count, lines_of, form = opened if opened is not None else open_pypdf(source)
    if count == 0:
        raise ParseError("empty", "The PDF has no pages. Export it again.")
    if count > context.max_pages:
        raise ParseError(
            "too_large", f"The PDF has {count} pages, the limit is {context.max_pages}. Split it."
        )
    sample = sorted({round(i * (count - 1) / (_SAMPLE_PAGES - 1)) for i in range(_SAMPLE_PAGES)})
    ahead = PagesAhead(lines_of, count, context.helper)
    if opened is not None:
        ahead = _better_reader(source, ahead, sample)
    state = LayoutState()
    for lines in ahead.sample(sample):
        state.preview(lines)
    pages = _pages(count, ahead, state, outline_of(document) if form else {})
    if form is not None:
        pages = _completed(pages, document, form, context)
    return Reading("application/pdf", _title(document), count, pages)


def _pages(count: int, ahead: PagesAhead, state: LayoutState, outline: Outline) -> Iterator[ParsedPage]:
    for number in range(count):
        state.cover = number == 0 and count > _COVER_OF_MORE_THAN
        state.outline = outline.get(number, [])
        yield build_page(ahead.lines(number), state)


def _completed(
    pages: Iterator[ParsedPage], document: Any, form: Form, context: Context
) -> Iterator[ParsedPage]:
    """The pages with what their text lacks: words in pictures, values of fields; at the end attachments."""
    pictures = PagePictures(document, context)
    last = len(document) - 1
    for number, page in enumerate(pages):
        whole = with_values(pictures.read(number, page), form.values(number))
        yield whole if number < last else with_attachments(whole, document, context)


def _better_reader(source: Source, ours: PagesAhead, sample: list[int]) -> PagesAhead:
    text = _joined(ours, sample)
    score = legibility(text)
    if score >= GOOD:
        return ours
    try:
        with _time_slice(_SECOND_OPINION_SECONDS):
            _, count, lines_of, _ = open_pypdf(source)
            if count <= sample[-1]:
                return ours
            theirs = PagesAhead(lines_of, count)
            other = _joined(theirs, sample)
    except (ParseError, Late, MemoryError, RecursionError):
        return ours
    weight = len("".join(text.split())) * score
    if len("".join(other.split())) * legibility(other) <= 1.1 * weight:
        return ours
    ours.alone()
    return theirs


def _joined(ahead: PagesAhead, numbers: list[int]) -> str:
    return "\n".join(line.text for lines in ahead.sample(numbers) for line in lines)


@contextmanager
def _time_slice(seconds: float) -> Iterator[None]:
    def late(_signal: int, _frame: types.FrameType | None) -> None:
        raise Late

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _title(document: Any) -> str | None:
    """The title of the metadata, where it is one: no file name and no number."""
    try:
        if isinstance(document, pypdfium2.PdfDocument):
            raw = document.get_metadata_value("Title")
        else:
            raw = str((document.metadata or {}).get("/Title") or "")
    except Exception:  # metadata are a courtesy
        return None
    title = collapse(raw, keep_breaks=False)[:300]
    letters = sum(c.isalpha() for c in title)
    lower = title.lower()
    junk = lower.startswith(("microsoft word", "untitled", "powerpoint presentation")) or lower.endswith(
        (".doc", ".docx", ".pdf", ".indd", ".qxd", ".tex", ".dvi", ".rtf", ".xls", ".ppt", ".pptx", ".xlsx")
    )
    return title if letters >= 3 and letters >= len(title) * 0.4 and not junk else None
