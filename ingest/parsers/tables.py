"""Rows as they come, to tables with a header: for sheets and other grids whose tables nothing marks."""

from __future__ import annotations

from ingest.parsers.base import HEADER_ROW
from ingest.parsers.builder import CELL_SEPARATOR, is_amount, names_columns
from ingest.parsers.joiner import Joiner

_MAX_HEADER_ROWS = 3
_LONGEST_NAME = 150


class TableWriter:
    """Takes the rows of a grid in order. An empty row ends a table.

    Text that stands alone above a table is a paragraph (or a heading, where it is short). The header of a
    table of figures is the row of names above them, with the sparser rows above it that group its columns;
    that of a table of text is its first row, where it reads like names.
    """

    def __init__(self, joiner: Joiner, level: int) -> None:
        """`level` is the rank of headings that stand alone above a table."""
        self._joiner = joiner
        self._level = level
        self._held: list[list[str]] = []  # first rows whose table is still to be seen
        self._gap = False
        self._rows = self._figures = 0  # of the open table, without its header; those with amounts

    def row(self, texts: list[str]) -> None:
        """The next row; its cells are clean."""
        filled = [text for text in texts if text]
        amounts = any(map(is_amount, filled))
        if self._gap and not amounts:
            self.end()
        if not filled:
            # One empty row may part names from their figures.
            self._gap = not self._gap and bool(self._held) and _count(self._held[-1]) > 1
            if not self._gap:
                self.end()
            return
        self._gap = False
        if self._rows:
            # Names again, after rows of figures: the header of what follows.
            if self._figures > 2 and self._figures > 0.7 * self._rows and len(filled) > 1 and not amounts:
                self._rows = self._figures = 0
                self._held = [texts]
            else:
                self._write(texts, amounts=amounts)
        elif self._held and (amounts or len(self._held) == _MAX_HEADER_ROWS):
            self._open(figures=amounts)
            self._write(texts, amounts=amounts)
        elif len(self._held) == 1 and _count(self._held[0]) == 1:
            self._open(figures=False)
            self._held = [texts]
        else:
            self._held.append(texts)

    def end(self) -> None:
        """The table, if any, is complete."""
        self._open(figures=False)
        self._rows = self._figures = 0
        self._gap = False

    def _open(self, *, figures: bool) -> None:
        """Writes the rows that were held back, those that name columns as headers."""
        held, self._held = self._held, []
        if len(held) == 1 and _count(held[0]) == 1:
            self._alone(next(text for text in held[0] if text))
            return
        names = _header_rows(held) if figures else int(len(held) > 1 and names_columns(held[0]))
        for number, texts in enumerate(held):
            self._write(texts, header=number < names, amounts=any(map(is_amount, texts)))

    def _alone(self, text: str) -> None:
        if len(text) <= 100 and not text.endswith((".", "!", "?")) and any(map(str.isalpha, text)):
            self._joiner.heading(text, self._level)
        else:
            self._joiner.paragraph(text)

    def _write(self, texts: list[str], *, header: bool = False, amounts: bool) -> None:
        self._rows += not header
        self._figures += amounts
        row = CELL_SEPARATOR.join(texts).strip()
        self._joiner.add("table_row", row, HEADER_ROW if header else 0)


def _count(texts: list[str]) -> int:
    return sum(map(bool, texts))


def _header_rows(held: list[list[str]]) -> int:
    """How many of the rows above figures are their header: rows of names, each fuller than the one above.

    It may be as full where its first cell is empty: a row that is no header has its label there.
    """
    names = 0
    for texts in held:
        count = _count(texts)
        if any(map(is_amount, texts)) or max(map(len, texts)) > _LONGEST_NAME:
            break
        fewest = _count(held[names - 1]) + bool(texts[0]) if names else 2
        if count < fewest:
            break
        names += 1
    return names
