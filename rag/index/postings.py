"""Adds up what the postings of a question's terms are worth to rows.

It is done by the compiled kernel where there is one, in numpy otherwise, with the same sums to the last unit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from rag.index.rows import Rows
from rag.index.segments import Segment

if TYPE_CHECKING:
    from model.native.lists import Lists

Floats = NDArray[np.float32]
Units = NDArray[np.int32]
"""Whole units; all that a question's terms can be worth in one line is less than 2³¹."""

LONG, LOOK_UP = 30_000, 8
"""A list of more postings, and so many times as many as rows that matter, is not scanned but searched."""


@cache
def kernel() -> type[Lists] | None:
    """The compiled kernel, None where there is none for this machine; loaded with the first question."""
    from model.native.library import library  # noqa: PLC0415  # it brings torch, which other commands lack
    from model.native.lists import Lists  # noqa: PLC0415

    return None if library() is None else Lists


@dataclass(frozen=True, eq=False)
class Part:
    """A segment and where in it the postings of each of the question's terms are."""

    segment: Segment
    first: NDArray[np.int64]
    last: NDArray[np.int64]
    norm: Floats
    """What BM25 adds to a count, by row."""

    def nothing(self, lines: int, among: Rows | None) -> Units:
        """Return sums to start with: 0 in each line for each row, of `among` if given."""
        return np.zeros((lines, len(self.segment.ids if among is None else among)), dtype=np.int32)

    def add(
        self, out: Units, terms: Rows, weights: Floats, saturated: Sequence[bool], among: Rows | None
    ) -> None:
        """Add to `out` [lines, rows] what the postings of `terms` are worth: weights [lines, terms], whole.

        In lines that are `saturated` they are multiplied with BM25's part of the count (Robertson and
        Zaragoza 2009, eq. 3.15) without its factor k1 + 1, and rounded. With `among`, rows ascending, `out`
        is [lines, len(among)].
        """
        if not len(terms) or not out.size:
            return
        if self._lists is None:
            self._add(out, terms, weights, saturated, among)
            return
        self._lists.add(
            out,
            (self.first[terms], self.last[terms]),
            np.ascontiguousarray(weights),
            sum(1 << line for line, does in enumerate(saturated) if does),
            None if among is None else among.astype(np.int32),
        )

    @cached_property
    def _lists(self) -> Lists | None:
        lists = kernel()
        return None if lists is None else lists(self.segment.rows, self.segment.counts, self.norm)

    def _add(
        self, out: Units, terms: Rows, weights: Floats, saturated: Sequence[bool], among: Rows | None
    ) -> None:
        """The same in numpy."""
        posting, term = self._postings(terms, among)
        rows, counts = self.segment.rows[posting], self.segment.counts[posting].astype(np.float32)
        at = rows if among is None else np.searchsorted(among, rows)
        worth = counts / (self.norm[rows] + counts)
        for line, own, does in zip(out, weights, saturated, strict=True):
            values = own[term]
            if does:
                values = np.rint(worth * values)
            line += np.bincount(at, values, len(line)).astype(np.int32)  # noqa: PLW2901

    def _postings(self, terms: Rows, among: Rows | None) -> tuple[Rows, Rows]:
        """Where the postings of `terms` are, of the rows `among` if given, and of which term each is."""
        first, sizes = self.first[terms], (self.last - self.first)[terms]
        few = np.ones(len(terms), dtype=bool) if among is None else sizes <= max(LONG, LOOK_UP * len(among))
        scanned = np.flatnonzero(few)
        ends = np.cumsum(sizes[scanned])
        of = np.repeat(scanned, sizes[scanned])
        posting = np.arange(len(of)) + np.repeat(first[scanned] - (ends - sizes[scanned]), sizes[scanned])
        if among is None:
            return posting, of
        mask = np.zeros(len(self.segment.ids), dtype=bool)
        mask[among] = True
        kept = mask[self.segment.rows[posting]]
        long = [self._looked_up(terms, int(at), among) for at in np.flatnonzero(~few)]
        found = [(posting[kept], of[kept]), *long]
        posting, of = (np.concatenate(arrays) for arrays in zip(*found, strict=True))
        return posting, of

    def _looked_up(self, terms: Rows, at: int, among: Rows) -> tuple[Rows, Rows]:
        """The same for one long list."""
        first = self.first[terms[at]]
        own = self.segment.rows[first : self.last[terms[at]]]
        place = np.searchsorted(own, among.astype(np.int32))  # of one type, or the list is copied
        place = place[own[np.minimum(place, len(own) - 1)] == among]
        return place + first, np.full(len(place), at)
