"""XLSX: every sheet a section, every row a table row; of formulas the stored values: nothing is computed.

Read by openpyxl row by row from a copy of the container that holds its XML parts only.
"""

from __future__ import annotations

import datetime as dt
import sys
from typing import Any

from ingest.errors import ParseError
from ingest.parsers.base import ParsedPage, Reading
from ingest.parsers.builder import collapse
from ingest.parsers.containers import Container, container_errors
from ingest.parsers.joiner import Joiner
from ingest.parsers.source import Context, Source
from ingest.parsers.tables import TableWriter

MAX_CELLS = 5_000_000
MAX_COLUMNS = 2000
_MEDIA_TYPE = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"


def read(source: Source, context: Context) -> Reading:
    """A reading of a workbook without pages. Raises ParseError: `corrupt`, `too_large`, `encrypted`."""
    openpyxl = _library()
    with container_errors("XLSX"):
        with source.open() as file:
            slim = Container(file, "XLSX").slim(lambda name: name.endswith((".xml", ".rels")))
        try:
            book = openpyxl.load_workbook(slim, read_only=True, data_only=True, keep_links=False)
            page = _sheets(book, context)
            title = collapse(book.properties.title or "", keep_breaks=False)[:300] or None
        except (ParseError, MemoryError, RecursionError):
            raise
        except Exception as error:  # the library raises what it comes upon
            raise ParseError(
                "corrupt", f"The XLSX is not built as one ({type(error).__name__}). Save it again."
            ) from error
    return Reading(_MEDIA_TYPE, title, None, iter((page,)))


def _library() -> Any:
    """openpyxl without NumPy, which it would load for types that no file holds: a tenth of a second."""
    hidden = "numpy" not in sys.modules
    if hidden:
        sys.modules["numpy"] = None  # type: ignore[assignment]  # an import of it fails
    try:
        import openpyxl  # noqa: PLC0415

        return openpyxl
    finally:
        if hidden:
            del sys.modules["numpy"]


def _sheets(book: Any, context: Context) -> ParsedPage:
    joiner = Joiner()
    cells = 0
    for sheet in book.worksheets:
        empty = True
        writer = TableWriter(joiner, 2)
        # What the file says of its size may be a lie, in either direction.
        sheet.reset_dimensions()
        for row in sheet.iter_rows(max_col=MAX_COLUMNS):
            texts = [_shown(cell.value, cell) for cell in row]
            while texts and not texts[-1]:
                texts.pop()
            cells += len(texts)
            if cells > MAX_CELLS or joiner.characters > context.max_characters:
                raise ParseError(
                    "too_large", f"The workbook has over {MAX_CELLS} cells or too much text. Split it."
                )
            if texts and empty:
                joiner.heading(str(sheet.title), 1)
                empty = False
            writer.row(texts)
        writer.end()
    return joiner.done()


def _shown(value: Any, cell: Any) -> str:
    """A cell's value as a person would write it: ISO dates, percentages, no float noise."""
    match value:
        case None:
            shown = ""
        case bool():
            shown = "TRUE" if value else "FALSE"
        case dt.datetime():
            shown = value.date().isoformat() if value.time() == dt.time() else value.isoformat(" ")
        case int() | float():
            percent = "%" in str(cell.number_format)
            shown = f"{value * 100:.10g}%" if percent else f"{value:.15g}"
        case _:
            shown = collapse(str(value), keep_breaks=False)
    return shown
