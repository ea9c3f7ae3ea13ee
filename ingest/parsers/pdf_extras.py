"""What a PDF holds besides the text of its pages: outline, values of form fields, attached files."""

from __future__ import annotations

import ctypes
import itertools
from typing import Any

import pypdfium2.raw as pdfium

from ingest.parsers.base import ParsedPage
from ingest.parsers.builder import collapse, essence
from ingest.parsers.joiner import Joiner
from ingest.parsers.source import Context

_MAX_OUTLINE = 20_000
_MAX_ANNOTATIONS = 5000
_MAX_ATTACHMENTS = 500
# fpdf_annot.h and fpdf_formfill.h
_DRAWN = frozenset({3, 13, 20})  # free text, stamp, widget
_CHECKED = frozenset({2, 3})  # check box, radio button
_PASSWORD = 1 << 13

Outline = dict[int, list[tuple[str, int]]]


def outline_of(document: Any) -> Outline:
    """For each page (from 0) the titles that the outline sets there and their ranks (1 is the highest)."""
    found: Outline = {}
    try:
        for entry in itertools.islice(document.get_toc(max_depth=9), _MAX_OUTLINE):
            target = entry.get_dest()
            page = target.get_index() if target is not None else None
            title = essence(entry.get_title() or "")
            if page is not None and len(title) >= 3:
                found.setdefault(page, []).append((title, entry.level + 1))
    except Exception:  # an outline is a courtesy
        return found
    return found


class Form:
    """The fields of a PDF's form; without one it does nothing."""

    def __init__(self, document: Any) -> None:
        self._document = document
        self._environment: Any = None
        self._seen: dict[int, list[tuple[str, str]]] = {}
        try:
            if document.get_formtype() != pdfium.FORMTYPE_NONE:
                document.init_forms()
                self._environment = document.formenv
        except Exception:  # a broken form leaves the pages as they are
            self._environment = None

    def draw(self, page: Any, number: int) -> bool:
        """Makes what annotations draw (fields, free text, stamps) part of the page; whether there was any.

        The annotations are gone from the page then.
        """
        kinds = set()
        for place in range(min(pdfium.FPDFPage_GetAnnotCount(page), _MAX_ANNOTATIONS)):
            annotation = pdfium.FPDFPage_GetAnnot(page, place)
            if annotation:
                kinds.add(pdfium.FPDFAnnot_GetSubtype(annotation))
                pdfium.FPDFPage_CloseAnnot(annotation)
        if not kinds & _DRAWN:
            return False
        if self._environment is not None:
            self._seen[number] = self._values(page)
        return bool(pdfium.FPDFPage_Flatten(page, pdfium.FLAT_NORMALDISPLAY) == pdfium.FLATTEN_SUCCESS)

    def values(self, number: int) -> list[tuple[str, str]]:
        """Names and values of the fields of page `number`; boxes that are ticked, passwords never."""
        if self._environment is None or number in self._seen:
            return self._seen.get(number, [])
        page = pdfium.FPDF_LoadPage(self._document.raw, number)
        if not page:
            return []
        try:
            return self._values(page)
        finally:
            pdfium.FPDF_ClosePage(page)

    def _values(self, page: Any) -> list[tuple[str, str]]:
        found: list[tuple[str, str]] = []
        form = self._environment.raw
        for number in range(min(pdfium.FPDFPage_GetAnnotCount(page), _MAX_ANNOTATIONS)):
            annotation = pdfium.FPDFPage_GetAnnot(page, number)
            if not annotation:
                continue
            flags = pdfium.FPDFAnnot_GetFormFieldFlags(form, annotation)
            value = _wide(pdfium.FPDFAnnot_GetFormFieldValue, form, annotation)
            if value and not flags & _PASSWORD:
                name = _wide(pdfium.FPDFAnnot_GetFormFieldAlternateName, form, annotation)
                name = name or _wide(pdfium.FPDFAnnot_GetFormFieldName, form, annotation)
                boxed = pdfium.FPDFAnnot_GetFormFieldType(form, annotation) in _CHECKED
                if not boxed or value.lower() not in ("off", "no"):
                    found.append((name, value))
            pdfium.FPDFPage_CloseAnnot(annotation)
        return found


def _wide(function: Any, form: Any, annotation: Any) -> str:
    """What a function of PDFium returns as UTF-16 with a NUL at its end."""
    size = function(form, annotation, None, 0)
    if size <= 2 or size > 200_000:
        return ""
    buffer = (ctypes.c_ushort * (size // 2))()
    function(form, annotation, buffer, size)
    return collapse(bytes(buffer)[: size - 2].decode("utf-16-le", "replace"), keep_breaks=False)


def with_values(page: ParsedPage, values: list[tuple[str, str]]) -> ParsedPage:
    """The page with the values that it does not show, as items at its end."""
    if not values:
        return page
    shown = essence(page.text)
    missing = [(name, value) for name, value in values if essence(value) not in shown or len(value) < 4]
    if not missing:
        return page
    joiner = Joiner()
    joiner.page(page)
    for name, value in dict.fromkeys(missing):
        joiner.add("list_item", f"{name}: {value}" if name else value, 1)
    return joiner.done()


def with_attachments(page: ParsedPage, document: Any, context: Context) -> ParsedPage:
    """The last page followed by the attached files, each a section of its own."""
    try:
        count = min(document.count_attachments(), _MAX_ATTACHMENTS)
    except Exception:
        return page
    if count <= 0:
        return page
    joiner = Joiner()
    joiner.page(page)
    for number in range(count):
        try:
            attached = document.get_attachment(number)
            name, data = attached.get_name(), bytes(attached.get_data())
        except (MemoryError, RecursionError):
            raise
        except Exception:  # a name without a file
            name, data = f"file {number + 1}", b""
        context.part(collapse(name.replace("/", "_"), keep_breaks=False), data, joiner, 1, "Attachment:")
    return joiner.done()
