"""CSV and TSV: the file stays as it is; its records are rows, the first one a header if it names columns."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator

from ingest.parsers.base import HEADER_ROW, Block, ParsedPage, Reading
from ingest.parsers.builder import names_columns

_DELIMITERS = ",;\t|"
_SAMPLE_LINES = 200
_MAX_TITLES = 5
_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n|\Z)")


def read(text: str, media_type: str, *, sure: bool = True) -> Reading | None:
    """A reading of delimited text, or None where it is none.

    `sure` says that the file is called so; otherwise three columns in every one of three records and more are
    asked for. Formulas are text like any other: nothing here, and nothing later, computes them.
    """
    lines = [match.group() for match in _LINE.finditer(text) if match.group()]
    delimiter = "\t" if "tab" in media_type else _delimiter(lines, sure=sure)
    if delimiter is None:
        return None
    blocks = tuple(_records(lines, delimiter))
    if not blocks:
        return None
    kind = media_type or ("text/tab-separated-values" if delimiter == "\t" else "text/csv")
    return Reading(kind, None, None, iter((ParsedPage(text, blocks),)))


def _delimiter(lines: list[str], *, sure: bool) -> str | None:
    """The delimiter that gives the most records the same number of columns, and most columns."""
    best: tuple[float, int, str] | None = None
    for delimiter in _DELIMITERS:
        counts = [len(row) for row in _rows(lines[:_SAMPLE_LINES], delimiter) if row]
        columns = max(set(counts), key=counts.count, default=0)
        same = counts.count(columns) / len(counts) if counts else 0.0
        if columns < 2 or (not sure and (columns < 3 or same < 1 or len(counts) < 3)):
            continue
        if not sure and delimiter in "," and any(f"{delimiter} " in line for line in lines[:_SAMPLE_LINES]):
            continue  # commas of prose
        if best is None or (same, columns) > best[:2]:
            best = (same, columns, delimiter)
    if best is not None:
        return best[2]
    return "," if sure else None


def _rows(lines: list[str], delimiter: str) -> Iterator[list[str]]:
    """Records; where quoting is broken, lines are taken for them."""
    reader = csv.reader(lines, delimiter=delimiter)
    try:
        yield from reader
    except csv.Error:
        yield from ([cell.strip('"') for cell in line.split(delimiter)] for line in lines[reader.line_num :])


def _records(lines: list[str], delimiter: str) -> Iterator[Block]:
    """A block for every record, which may go over several lines."""
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line))
    csv.field_size_limit(10_000_000)
    reader = csv.reader(lines, delimiter=delimiter)
    done = 0
    titles = 0  # records above the header that hold one thing only
    first = True
    while done < len(lines):
        try:
            row = next(reader)
            after = reader.line_num
        except StopIteration:
            return
        except csv.Error:  # a field beyond all measure, a lone carriage return
            row, after = [lines[done]], max(done + 1, reader.line_num)
        text = "".join(lines[done:after])
        start = starts[done] + len(text) - len(text.lstrip())
        end = starts[after] - (len(text) - len(text.rstrip()))
        done = after
        if start >= end:
            continue
        cells = [cell.strip() for cell in row]
        if first and len(row) > 1 and sum(map(bool, cells)) == 1 and titles < _MAX_TITLES:
            titles += 1
            yield Block("paragraph", start, end)
            continue
        header = first and (names_columns(cells) or (len(cells) == 1 and _is_name(cells[0])))
        yield Block("table_row", start, end, HEADER_ROW if header else 0)
        first = False


def _is_name(cell: str) -> bool:
    return 0 < len(cell) <= 40 and cell[0].isalpha() and not cell.endswith((".", "!", "?"))
