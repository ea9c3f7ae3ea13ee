"""Pages of a PDF that show text as a picture: drawn and read by OCR, page by page, where it is installed."""

from __future__ import annotations

from typing import Any

import pypdfium2.raw as pdfium

from ingest.parsers.base import ParsedPage
from ingest.parsers.legibility import legibility
from ingest.parsers.source import Context

_LITTLE = 20
"""Letters and digits; a page with fewer and something drawn on it is taken for a picture."""
_ILLEGIBLE = 0.5
_MAX_SIDE = 4500


class PagePictures:
    """Reads pages that need it; the engine is loaded for the first one."""

    def __init__(self, document: Any, context: Context) -> None:
        self._document = document
        self._context = context

    def read(self, number: int, page: ParsedPage) -> ParsedPage:
        """The page as it is, or as OCR reads it where it holds hardly a word or nothing that can be read."""
        if not self._context.ocr or not self._needs(number, page.text):
            return page
        from ingest.parsers import ocr  # noqa: PLC0415  # loads the engine

        reader = ocr.reader_for(self._context)
        try:
            sheet = self._document[number]
            scale = ocr_scale(sheet.get_size())
            drawn = reader.page(sheet.render(scale=scale, grayscale=True).to_pil(), round(scale * 72))
            sheet.close()
        except (MemoryError, RecursionError):
            raise
        except Exception:  # what cannot be drawn stays as it was
            return page
        return (
            drawn if _letters(drawn.text) > _letters(page.text) or _letters(drawn.text) >= _LITTLE else page
        )

    def _needs(self, number: int, text: str) -> bool:
        if not lacks_text(text):
            return False
        if _letters(text) >= _LITTLE:
            return True
        sheet = pdfium.FPDF_LoadPage(self._document.raw, number)
        if not sheet:
            return False
        try:
            return _shows_pictures(sheet)
        finally:
            pdfium.FPDF_ClosePage(sheet)


def ocr_scale(size: tuple[float, float]) -> float:
    """Pixels for a point at which a page of that size, in points, is drawn for OCR."""
    return min(200 / 72, _MAX_SIDE / max(*size, 1.0))


def lacks_text(text: str) -> bool:
    """Whether a page whose text is this has hardly a word, or none that can be read."""
    few = _letters(text[:200]) < _LITTLE and _letters(text) < _LITTLE
    return few or legibility(text[:2000]) < _ILLEGIBLE


def _shows_pictures(sheet: Any) -> bool:
    """Whether there is a picture on the page, something composed, or as many paths as outlined letters."""
    count = min(pdfium.FPDFPage_CountObjects(sheet), 2000)
    kinds = [pdfium.FPDFPageObj_GetType(pdfium.FPDFPage_GetObject(sheet, number)) for number in range(count)]
    composed = (pdfium.FPDF_PAGEOBJ_IMAGE, pdfium.FPDF_PAGEOBJ_FORM)
    return any(kind in composed for kind in kinds) or kinds.count(pdfium.FPDF_PAGEOBJ_PATH) >= 50


def _letters(text: str) -> int:
    return sum(map(str.isalnum, text))
