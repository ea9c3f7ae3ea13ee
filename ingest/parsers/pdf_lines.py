"""The lines of a PDF's pages, as PDFium or pypdf give them."""

from __future__ import annotations

import ctypes
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import pypdfium2
import pypdfium2.raw as pdfium

from ingest.errors import ParseError
from ingest.parsers.pdf_extras import Form
from ingest.parsers.pdf_layout import Line
from ingest.parsers.pdf_tables import with_tables
from ingest.parsers.source import Source

_MAX_PAGE_CHARACTERS = 5_000_000
_BOLD = re.compile(rb"bold|black|heavy|demi", re.IGNORECASE)
_ITALIC = re.compile(rb"italic|oblique", re.IGNORECASE)
_FORCE_BOLD = 1 << 18  # PDF 32000-1, table 123: font descriptor flags

PageLines = Callable[[int], list[Line]]


class Late(Exception):
    """The second opinion took longer than it is worth."""


def open_pdfium(source: Source) -> tuple[Any, int, PageLines, Form] | None:
    """None when PDFium finds no document in the file."""
    try:
        document = _document(source.content)
    except pypdfium2.PdfiumError as error:
        if pdfium.FPDF_GetLastError() == pdfium.FPDF_ERR_PASSWORD or "password" in str(error).lower():
            raise ParseError(
                "encrypted", "The PDF opens only with a password. Save it without one and upload that."
            ) from error
        return None
    form = Form(document)
    return document, len(document), lambda number: _pdfium_lines(document, form, number), form


def _document(content: Path | bytes) -> pypdfium2.PdfDocument:
    """The open document. Raises pypdfium2.PdfiumError.

    PDFium opens a path as it is given: pypdfium2 would resolve it, and a file without a name in any folder
    has no other one.
    """
    if isinstance(content, bytes):
        return pypdfium2.PdfDocument(content)
    document = pdfium.FPDF_LoadDocument(os.fsencode(content), None)
    if pdfium.FPDF_GetPageCount(document) < 1:
        raise pypdfium2.PdfiumError(f"PDFium's error {pdfium.FPDF_GetLastError()}")
    return pypdfium2.PdfDocument(document)


@contextmanager
def loaded_page(document: Any, form: Form, number: int) -> Iterator[Any]:
    """PDFium's page `number` (from 0) with what its annotations draw; None where it does not load."""
    page = pdfium.FPDF_LoadPage(document.raw, number)
    if page and form.draw(page, number):
        pdfium.FPDF_ClosePage(page)  # what was drawn shows in a page that is loaded anew
        page = pdfium.FPDF_LoadPage(document.raw, number)
    try:
        yield page or None
    finally:
        if page:
            pdfium.FPDF_ClosePage(page)


def _pdfium_lines(document: Any, form: Form, number: int) -> list[Line]:
    """The lines of one page; none where the page does not load."""
    with loaded_page(document, form, number) as page:
        text_page = page and pdfium.FPDFText_LoadPage(page)
        if not text_page:
            return []
        try:
            return with_tables(page, text_page, _text_page_lines(text_page))
        finally:
            pdfium.FPDFText_ClosePage(text_page)


def _text_page_lines(text_page: Any) -> list[Line]:
    characters = pdfium.FPDFText_CountChars(text_page)
    if characters <= 0:
        return []
    if characters > _MAX_PAGE_CHARACTERS:
        raise ParseError(
            "too_large", f"A page holds {characters} characters, the limit is {_MAX_PAGE_CHARACTERS}."
        )
    buffer = (ctypes.c_ushort * (characters + 1))()
    written = pdfium.FPDFText_GetText(text_page, 0, characters, buffer)
    units = bytes(memoryview(buffer).cast("B"))[: max(0, written - 1) * 2]
    lines: list[Line] = []
    position = 0  # in UTF-16 units, as PDFium counts
    for text in units.decode("utf-16-le", "replace").split("\n"):
        length = len(text) if text.isascii() else len(text.encode("utf-16-le", "surrogatepass")) // 2
        if text.strip():
            lines.append(_measure(text_page, text.rstrip("\r"), position, length))
        position += length + 1
    return lines


def _measure(text_page: Any, text: str, position: int, length: int) -> Line:
    """Takes place, size and weight from the first and last letter of the line."""
    shown = len(text)
    first = next((i for i, c in enumerate(text) if c.isalnum()), 0)
    last = next((i for i in range(shown - 1, -1, -1) if text[i].isalnum()), shown - 1)
    first_index = _index_of(text_page, position + first)
    last_index = _index_of(text_page, position + min(last, length - 1))
    box = _box
    line = Line(text)
    if first_index < 0 or not _box_of(text_page, first_index, _at_box):
        return line
    line.left, line.right, line.top, line.size = box.left, box.right, box.top, abs(box.top - box.bottom)
    if last_index >= 0 and _box_of(text_page, last_index, _at_box):
        line.right = box.right
        bold, italic = _style(text_page, first_index)
        if bold or italic:
            last_bold, last_italic = _style(text_page, last_index)
            line.bold, line.italic = bold and last_bold, italic and last_italic
    return line


def _style(text_page: Any, index: int) -> tuple[bool, bool]:
    """Bold and italic by the font's name: its stated weight is 0 or wrong in many files."""
    name, flags = _font_name, _font_flags
    name[0] = b"\0"
    flags.value = 0
    _font_of(text_page, index, name, len(name), _at_flags)
    bold, italic = _style_of(name.value)
    return bold or bool(flags.value & _FORCE_BOLD), italic


# One of each for all lines: a process reads one document, in one thread.
_box = pdfium.FS_RECTF()
_font_name = ctypes.create_string_buffer(128)
_font_flags = ctypes.c_int()
_at_box, _at_flags = ctypes.pointer(_box), ctypes.pointer(_font_flags)
_index_of = pdfium.FPDFText_GetCharIndexFromTextIndex
_box_of = pdfium.FPDFText_GetLooseCharBox
_font_of = pdfium.FPDFText_GetFontInfo


@lru_cache(maxsize=1024)
def _style_of(font: bytes) -> tuple[bool, bool]:
    return bool(_BOLD.search(font)), bool(_ITALIC.search(font))


def open_pypdf(source: Source) -> tuple[Any, int, PageLines, None]:
    """Raises ParseError when pypdf cannot open the file either."""
    import logging  # noqa: PLC0415

    import pypdf  # noqa: PLC0415  # most files are read without it, and it costs a tenth of a second

    logging.getLogger("pypdf").setLevel(logging.CRITICAL)
    try:
        reader = pypdf.PdfReader(source.open(), strict=False)
        if reader.is_encrypted and not reader.decrypt(""):
            raise ParseError(
                "encrypted", "The PDF opens only with a password. Save it without one and upload that."
            )
        count = len(reader.pages)
    except ParseError:
        raise
    except MemoryError:
        raise
    except Exception as error:
        raise ParseError(
            "corrupt", f"No PDF reader finds a page in the file ({type(error).__name__}). Export it again."
        ) from error

    def lines_of(number: int) -> list[Line]:
        try:
            text = reader.pages[number].extract_text()
        except (MemoryError, Late):
            raise
        except Exception:  # a broken page is a blank page; the others may read well
            return []
        return [Line(line) for line in text.split("\n") if line.strip()]

    return reader, count, lines_of, None
