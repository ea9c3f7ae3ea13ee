"""Rows as they come, to tables with a header: for sheets and other grids whose tables nothing marks."""

from __future__ import annotations

from ingest.parsers.base import HEADER_ROW
from ingest.parsers.builder import CELL_SEPARATOR, names_columns
from ingest.parsers.joiner import Joiner


class TableWriter:
    """Takes the rows of a grid in order. An empty row ends a table.

    Text that stands alone above a table is a paragraph (or a heading, where it is short); the first row that
    names columns is the table's header.
    """

    def __init__(self, joiner: Joiner, level: int) -> None:
        """`level` is the rank of headings that stand alone above a table."""
        self._joiner = joiner
        self._level = level
        self._held: list[str] | None = None  # a first row whose table is still to be seen
        self._inside = False

    def row(self, texts: list[str]) -> None:
        """The next row; its cells are clean."""
        if not any(texts):
            self.end()
        elif self._inside:
            self._write(texts)
        elif self._held is None:
            self._held = texts
        else:
            held, self._held = self._held, None
            filled = [text for text in held if text]
            if len(filled) == 1:
                self._alone(filled[0])
                self._held = texts
            else:
                self._inside = True
                self._write(held, header=names_columns(held))
                self._write(texts)

    def end(self) -> None:
        """The table, if any, is complete."""
        if self._held is not None:
            filled = [text for text in self._held if text]
            if len(filled) == 1:
                self._alone(filled[0])
            else:
                self._write(self._held)
        self._held, self._inside = None, False

    def _alone(self, text: str) -> None:
        if len(text) <= 100 and not text.endswith((".", "!", "?")) and any(map(str.isalpha, text)):
            self._joiner.heading(text, self._level)
        else:
            self._joiner.paragraph(text)

    def _write(self, texts: list[str], *, header: bool = False) -> None:
        row = CELL_SEPARATOR.join(texts).strip()
        self._joiner.add("table_row", row, HEADER_ROW if header else 0)
