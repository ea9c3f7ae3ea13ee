"""A page of a PDF as PDFium draws it, and the letters that stand on it, with their places."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import pypdfium2
import pypdfium2.raw as pdfium
from PIL import Image

from ingest.errors import ParseError
from ingest.parsers.pdf_lines import loaded_page, open_pdfium
from ingest.parsers.pdf_pictures import ocr_scale
from ingest.parsers.regions import Box, Glyph
from ingest.parsers.source import Source

_GRID = 100_000
"""Units of a device as wide and as high as this, in which PDFium tells places."""
_MOST_GLYPHS = 200_000


@contextmanager
def open_page(source: Source, number: int) -> Iterator[PdfPage]:
    """Page `number`, from 1. Raises ParseError `corrupt`, `encrypted`."""
    opened = open_pdfium(source)
    if opened is None:
        raise ParseError("corrupt", "PDFium cannot open the file, so no page of it can be drawn.")
    document, count, _, form = opened
    with loaded_page(document, form, number - 1) if 1 <= number <= count else nullcontext() as page:
        if page is None:
            raise ParseError("corrupt", f"Page {number} of the PDF does not load, so it cannot be drawn.")
        yield PdfPage(page)


class PdfPage:
    """A page that is loaded; `size` in points, as it is shown."""

    def __init__(self, page: Any) -> None:
        self._page = page
        self.size = (
            max(1.0, float(pdfium.FPDF_GetPageWidthF(page))),
            max(1.0, float(pdfium.FPDF_GetPageHeightF(page))),
        )

    def drawn(self, width: int, height: int) -> Image.Image:
        """The page in colour, as large as fits into so many pixels."""
        scale = min(width / self.size[0], height / self.size[1])
        wide, high = (max(1, round(side * scale)) for side in self.size)
        bitmap = pypdfium2.PdfBitmap.new_native(wide, high, pdfium.FPDFBitmap_BGRx)
        bitmap.fill_rect((255, 255, 255, 255), 0, 0, wide, high)
        flags = pdfium.FPDF_ANNOT | pdfium.FPDF_REVERSE_BYTE_ORDER
        pdfium.FPDF_RenderPageBitmap(bitmap.raw, self._page, 0, 0, wide, high, 0, flags)
        return Image.frombuffer(
            "RGBX", (wide, high), bytes(bitmap.buffer), "raw", "RGBX", bitmap.stride, 1
        ).convert("RGB")

    def scanned(self) -> Image.Image:
        """The page as it is drawn for OCR."""
        scale = ocr_scale(self.size)
        return self.drawn(round(self.size[0] * scale), round(self.size[1] * scale))

    def glyphs(self) -> Iterator[Glyph]:
        """The letters of the page in PDFium's order, those that it adds between words and lines included."""
        text_page = pdfium.FPDFText_LoadPage(self._page)
        if not text_page:
            return
        try:
            box = pdfium.FS_RECTF()
            for index in range(min(pdfium.FPDFText_CountChars(text_page), _MOST_GLYPHS)):
                code = pdfium.FPDFText_GetUnicode(text_page, index)
                known = pdfium.FPDFText_GetLooseCharBox(text_page, index, box)
                place = self._place(box) if known else Box(0, 0, 0, 0)
                yield Glyph(chr(code) if 0 < code < 0x110000 else " ", place)
        finally:
            pdfium.FPDFText_ClosePage(text_page)

    def _place(self, box: Any) -> Box:
        """As fractions of the page as it is shown: PDFium knows of its rotation and what is cut off."""
        x, y = ctypes.c_int(), ctypes.c_int()
        corners = []
        for across, up in ((box.left, box.top), (box.right, box.bottom)):
            pdfium.FPDF_PageToDevice(self._page, 0, 0, _GRID, _GRID, 0, across, up, x, y)
            corners.append((x.value / _GRID, y.value / _GRID))
        (x1, y1), (x2, y2) = corners
        return Box(min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2))
