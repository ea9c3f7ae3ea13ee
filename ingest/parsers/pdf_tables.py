"""Ruled tables of a PDF page: cells between the lines that are drawn, one line of text for each row.

A grid is taken for a table only if the words between its lines are the very words that the page's text has
there, so that no text is lost or said twice; anything else stays lines as it was.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import pypdfium2.raw as pdfium

from ingest.parsers.builder import CELL_SEPARATOR, collapse, names_columns
from ingest.parsers.hyphens import LINE_END_HYPHEN
from ingest.parsers.pdf_layout import Line

_MAX_OBJECTS = 1500
"""Things drawn on a page; pages with more (programs that place every letter) take too long to search."""
_MAX_RULES = 4000
_MAX_SEGMENTS = 400
_MAX_CELLS = 5000
_THIN = 3.0
_NEAR = 3.0
_FILLED = 0.6  # accounts have columns for signs and gaps: their lines read better as they are
_LONGEST_CELL = 600
"""Characters; a grid with a fuller cell is the layout of a page, not a table."""

Rule = tuple[float, float, float]
"""Of a horizontal line y, left and right; of a vertical one x, bottom and top. Points."""


@dataclass(slots=True)
class _Grid:
    """Lines that touch each other."""

    across: list[Rule] = field(default_factory=list)
    down: list[Rule] = field(default_factory=list)


def with_tables(page: Any, text_page: Any, lines: list[Line]) -> list[Line]:
    """The lines of a page, those in ruled tables replaced by one for each row."""
    if len(lines) < 3:
        return lines
    for grid in _grids(*_rules(page)):
        lines = _with_table(grid, text_page, lines)
    return lines


def _rules(page: Any) -> tuple[list[Rule], list[Rule]]:
    """The straight lines that are drawn on a page, and the edges of boxes."""
    across: list[Rule] = []
    down: list[Rule] = []
    get, kind_of = pdfium.FPDFPage_GetObject, pdfium.FPDFPageObj_GetType
    left, bottom, right, top = (ctypes.c_float() for _ in range(4))
    count = pdfium.FPDFPage_CountObjects(page)
    for number in range(count if count <= _MAX_OBJECTS else 0):
        thing = get(page, number)
        if kind_of(thing) != pdfium.FPDF_PAGEOBJ_PATH:
            continue
        if not pdfium.FPDFPageObj_GetBounds(thing, left, bottom, right, top):
            continue
        wide, high = right.value - left.value, top.value - bottom.value
        if high <= _THIN < wide:
            across.append(((top.value + bottom.value) / 2, left.value, right.value))
        elif wide <= _THIN < high:
            down.append(((left.value + right.value) / 2, bottom.value, top.value))
        elif wide > _THIN and high > _THIN and _is_stroked(thing):
            for x0, y0, x1, y1 in _segments(thing):
                if abs(y0 - y1) < 0.5 and abs(x0 - x1) > _THIN:
                    across.append((y0, min(x0, x1), max(x0, x1)))
                elif abs(x0 - x1) < 0.5 and abs(y0 - y1) > _THIN:
                    down.append((x0, min(y0, y1), max(y0, y1)))
        if len(across) + len(down) > _MAX_RULES:
            return [], []  # a drawing
    return across, down


def _is_stroked(path: Any) -> bool:
    """Whether a path is drawn as a line: areas of colour rule nothing."""
    fill, stroke = ctypes.c_int(), ctypes.c_int()
    return bool(pdfium.FPDFPath_GetDrawMode(path, fill, stroke) and stroke.value)


def _segments(path: Any) -> Iterator[tuple[float, float, float, float]]:
    """The straight pieces of a path, in the page's coordinates."""
    count = pdfium.FPDFPath_CountSegments(path)
    if not 2 <= count <= _MAX_SEGMENTS:
        return
    matrix = pdfium.FS_MATRIX()
    if not pdfium.FPDFPageObj_GetMatrix(path, matrix):
        return
    x, y = ctypes.c_float(), ctypes.c_float()
    start = at = (0.0, 0.0)
    for number in range(count):
        segment = pdfium.FPDFPath_GetPathSegment(path, number)
        pdfium.FPDFPathSegment_GetPoint(segment, x, y)
        point = (
            matrix.a * x.value + matrix.c * y.value + matrix.e,
            matrix.b * x.value + matrix.d * y.value + matrix.f,
        )
        kind = pdfium.FPDFPathSegment_GetType(segment)
        if kind == pdfium.FPDF_SEGMENT_MOVETO:
            start = point
        elif kind == pdfium.FPDF_SEGMENT_LINETO:
            yield (*at, *point)
        at = point
        if pdfium.FPDFPathSegment_GetClose(segment):
            yield (*at, *start)
            at = start


def _grids(across: list[Rule], down: list[Rule]) -> list[_Grid]:
    """Groups of lines that touch, with at least two rows and two columns, from the top of the page."""
    if len(across) < 3 or len(down) < 3:
        return []
    across, down = _joined(across), _joined(down)
    parents = list(range(len(across) + len(down)))

    def root(one: int) -> int:
        while parents[one] != one:
            parents[one] = parents[parents[one]]
            one = parents[one]
        return one

    if len(across) * len(down) > 200_000:
        return []
    for i, (y, left, right) in enumerate(across):
        for j, (x, bottom, top) in enumerate(down):
            if left - _NEAR <= x <= right + _NEAR and bottom - _NEAR <= y <= top + _NEAR:
                parents[root(i)] = root(len(across) + j)
    groups: dict[int, _Grid] = {}
    for i, rule in enumerate(across):
        groups.setdefault(root(i), _Grid()).across.append(rule)
    for j, rule in enumerate(down):
        groups.setdefault(root(len(across) + j), _Grid()).down.append(rule)
    found = [
        grid for grid in groups.values() if len(_places(grid.across)) > 2 and len(_places(grid.down)) > 2
    ]
    return sorted(found, key=lambda grid: -max(rule[0] for rule in grid.across))


def _joined(rules: list[Rule]) -> list[Rule]:
    """Pieces of the same line made one: borders are drawn cell by cell."""
    merged: list[Rule] = []
    for place, first, last in sorted(rules, key=lambda rule: (round(rule[0]), rule[1])):
        if merged and abs(merged[-1][0] - place) < 1.5 and first <= merged[-1][2] + _NEAR:
            merged[-1] = (merged[-1][0], merged[-1][1], max(merged[-1][2], last))
        else:
            merged.append((place, first, last))
    return merged


def _places(rules: list[Rule]) -> list[float]:
    """Where lines stand, each place once."""
    found: list[float] = []
    for place in sorted(rule[0] for rule in rules):
        if not found or place - found[-1] > _NEAR:
            found.append(place)
    return found


def _with_table(grid: _Grid, text_page: Any, lines: list[Line]) -> list[Line]:
    columns, rows = _places(grid.down), _places(grid.across)[::-1]
    if (len(columns) - 1) * (len(rows) - 1) > _MAX_CELLS:
        return lines
    box = (columns[0], rows[-1], columns[-1], rows[0])
    inside = [number for number, line in enumerate(lines) if _lies_in(line, box)]
    words = sum(len(lines[number].text.split()) for number in inside)
    if len(inside) < 2 or words < _FILLED * (len(columns) - 1) * (len(rows) - 1):
        return lines
    table = [
        [
            _text_in(text_page, left, top, right, bottom)
            for left, right in _cells(grid, columns, (top + bottom) / 2)
        ]
        for top, bottom in pairwise(rows)
    ]
    table = [row for row in table if any(row)]
    if not _is_table(table) or _letters(table) != sorted(
        c for number in inside for c in lines[number].text if c.isalnum()
    ):
        return lines
    first = lines[inside[0]]
    made = [
        Line(
            CELL_SEPARATOR.join(row).strip(" "),
            left=box[0],
            right=box[2],
            top=first.top,
            row=2 if number == 0 and names_columns(row) else 1,
            columns=tuple(round(x / 4) for x in columns),
        )
        for number, row in enumerate(table)
    ]
    gone = set(inside)
    before = [line for number, line in enumerate(lines) if number < inside[0]]
    return [*before, *made, *(line for n, line in enumerate(lines) if n > inside[0] and n not in gone)]


def _lies_in(line: Line, box: tuple[float, float, float, float]) -> bool:
    middle = line.top - line.size / 2
    return bool(
        line.size
        and not line.row
        and box[0] - _NEAR <= line.left <= box[2] + _NEAR
        and box[1] - _NEAR <= middle <= box[3] + _NEAR
    )


def _cells(grid: _Grid, columns: list[float], middle: float) -> list[tuple[float, float]]:
    """The cells of a row: a column's line that is not drawn there parts nothing."""
    drawn = [
        x
        for x in columns
        if x in (columns[0], columns[-1])
        or any(abs(place - x) <= _NEAR and low <= middle <= high for place, low, high in grid.down)
    ]
    return list(pairwise(drawn))


def _text_in(text_page: Any, left: float, top: float, right: float, bottom: float) -> str:
    count = pdfium.FPDFText_GetBoundedText(text_page, left, top, right, bottom, None, 0)
    if count <= 0:
        return ""
    buffer = (ctypes.c_ushort * (count + 1))()
    written = pdfium.FPDFText_GetBoundedText(text_page, left, top, right, bottom, buffer, count)
    text = bytes(memoryview(buffer).cast("B"))[: written * 2].decode("utf-16-le", "replace").rstrip("\0")
    for mark in (LINE_END_HYPHEN, "\x02", "\u00ad"):
        text = text.replace(f"{mark}\r\n", "").replace(mark, "-")
    return collapse(text, keep_breaks=False).replace("|", "¦")


def _is_table(table: list[list[str]]) -> bool:
    """Whether most cells hold something, none a page's worth, and two rows are rows."""
    sizes = [len(cell) for row in table for cell in row]
    filled = sum(map(bool, sizes))
    rows = sum(sum(map(bool, row)) > 1 for row in table)
    return rows > 1 and filled > _FILLED * len(sizes) and max(sizes) <= _LONGEST_CELL


def _letters(table: list[list[str]]) -> list[str]:
    return sorted(c for row in table for cell in row for c in cell if c.isalnum())
