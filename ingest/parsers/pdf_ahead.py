"""The lines of a PDF's pages in order; some are read ahead, as a sample, while waiting, or by a helper."""

from __future__ import annotations

from collections.abc import Sequence

from ingest.parsers.pdf_helper import Helper
from ingest.parsers.pdf_layout import Line
from ingest.parsers.pdf_lines import PageLines

_AHEAD = 64
"""Pages that are read ahead at most while the next one is with the helper."""


class PagesAhead:
    """Hands out each page's lines once. Without a helper all is read here, when it is asked for."""

    def __init__(self, read: PageLines, count: int, helper: Helper | None = None) -> None:
        self._read = read
        self._count = count
        self._helper = helper
        self._ready: dict[int, list[Line]] = {}
        self._next = 0

    def sample(self, numbers: Sequence[int]) -> list[list[Line]]:
        """The lines of some pages before their turn. They are kept for it, so nobody may change them."""
        missing = [number for number in numbers if number not in self._ready]
        mine = [number for number in missing if self._helper is None or self._helper.take(number)]
        for number in mine:
            self._ready[number] = self._read(number)
        for number in missing:
            self._await(number)
        return [self._ready[number] for number in numbers]

    def lines(self, number: int) -> list[Line]:
        """The lines of a page; pages are asked for in order."""
        self._await(number)
        self._next = number + 1
        return self._ready.pop(number)

    def alone(self) -> None:
        """Go on without the helper, as whoever leaves the PDF to another reader."""
        if self._helper is not None:
            self._helper.end()
            self._helper = None

    def _await(self, number: int) -> None:
        while number not in self._ready:
            self._receive(wait=False)
            if number in self._ready:
                return
            if self._helper is None or self._helper.take(number):
                self._ready[number] = self._read(number)
            elif not self._work_ahead(self._helper, number):
                self._receive(wait=True)

    def _receive(self, *, wait: bool) -> None:
        if self._helper is None:
            return
        for number, lines in self._helper.received(wait=wait):
            if number >= self._next:
                self._ready.setdefault(number, lines)

    def _work_ahead(self, helper: Helper, number: int) -> bool:
        """Read the next page that nobody has taken, instead of waiting; False where there is none near."""
        for ahead in range(number + 1, min(number + _AHEAD, self._count)):
            if ahead not in self._ready and helper.take(ahead):
                self._ready[ahead] = self._read(ahead)
                return True
        return False
