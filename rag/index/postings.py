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

from rag.index.rows import Ids, Rows
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
class Postings:
    """A question's postings in all segments of an index, whose rows are counted one after the other."""

    parts: tuple[Part, ...]

    @cached_property
    def bounds(self) -> Rows:
        """Where the rows of each segment begin, and where the last ones end."""
        return np.cumsum([0, *(len(part.segment.ids) for part in self.parts)], dtype=np.int64)

    def nothing(self, lines: int, among: Rows | None) -> Units:
        """Return sums to start with: 0 in each line for each row, of `among` if given."""
        return np.zeros((lines, int(self.bounds[-1]) if among is None else len(among)), dtype=np.int32)

    def add(
        self, out: Units, terms: slice, weights: Floats, saturated: Sequence[bool], among: Rows | None
    ) -> None:
        """Add to `out` [lines, rows] what the postings of `terms` are worth: weights [lines, terms], whole.

        In lines that are `saturated` they are multiplied with BM25's part of the count (Robertson and
        Zaragoza 2009, eq. 3.15) without its factor k1 + 1, and rounded. With `among`, rows ascending, `out`
        is [lines, len(among)].
        """
        if not weights.size or not out.size:
            return
        if self._lists is not None:
            first, last = self._places
            places = np.ascontiguousarray(first[:, terms]), np.ascontiguousarray(last[:, terms])
            lines = sum(1 << line for line, does in enumerate(saturated) if does)
            self._lists.add(out, places, np.ascontiguousarray(weights), lines, among)
            return
        cuts = self.bounds if among is None else np.searchsorted(among, self.bounds)
        for part, base, begin, end in zip(self.parts, self.bounds, cuts, cuts[1:], strict=False):
            own = None if among is None else among[begin:end] - base
            part.add(out[:, begin:end], terms, weights, saturated, own)

    def ids(self, rows: Rows) -> Ids:
        """Return the chunks of `rows`, ascending."""
        found = [np.zeros(0, dtype=np.int64)]
        cuts = np.searchsorted(rows, self.bounds)
        for part, base, begin, end in zip(self.parts, self.bounds, cuts, cuts[1:], strict=False):
            if end > begin:
                found.append(part.segment.ids[rows[begin:end] - base])
        return np.concatenate(found)

    def places(self, ids: Ids) -> tuple[Rows, Rows]:
        """Return (places in `ids`, rows) of those that are here; `ids` are ascending."""
        found = [part.segment.rows_of(ids) for part in self.parts]
        if not found:
            return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
        rows = [own + base for (_, own), base in zip(found, self.bounds, strict=False)]
        return np.concatenate([at for at, _ in found]), np.concatenate(rows)

    def among(self, wanted: Ids) -> Rows:
        """Return the rows, ascending, of `wanted` (ascending, each once) that are here."""
        found = [np.zeros(0, dtype=np.int64)]
        for part, base in zip(self.parts, self.bounds, strict=False):
            found.append(part.segment.rows_among(wanted) + base)
        return np.concatenate(found)

    @cached_property
    def _places(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        return np.stack([part.first for part in self.parts]), np.stack([part.last for part in self.parts])

    @cached_property
    def _lists(self) -> Lists | None:
        lists = kernel()
        if lists is None:
            return None
        return lists([(part.segment.rows, part.segment.counts, part.norm) for part in self.parts])


@dataclass(frozen=True, eq=False)
class Part:
    """A segment and where in it the postings of each of the question's terms are."""

    segment: Segment
    first: NDArray[np.int64]
    last: NDArray[np.int64]
    norm: Floats
    """What BM25 adds to a count, by row."""

    def add(
        self, out: Units, terms: slice, weights: Floats, saturated: Sequence[bool], among: Rows | None
    ) -> None:
        """What `Postings.add` does, for this segment and its own rows, in numpy."""
        posting, term = self._postings(terms, among)
        rows, counts = self.segment.rows[posting], self.segment.counts[posting].astype(np.float32)
        at = rows if among is None else np.searchsorted(among, rows)
        worth = counts / (self.norm[rows] + counts)
        for line, own, does in zip(out, weights, saturated, strict=True):
            values = own[term]
            if does:
                values = np.rint(worth * values)
            line += np.bincount(at, values, len(line)).astype(np.int32)  # noqa: PLW2901

    def _postings(self, terms: slice, among: Rows | None) -> tuple[Rows, Rows]:
        """Where the postings of `terms` are, of the rows `among` if given, and of which term each is."""
        first, sizes = self.first[terms], (self.last - self.first)[terms]
        few = np.ones(len(first), dtype=bool) if among is None else sizes <= max(LONG, LOOK_UP * len(among))
        scanned = np.flatnonzero(few)
        ends = np.cumsum(sizes[scanned])
        of = np.repeat(scanned, sizes[scanned])
        posting = np.arange(len(of)) + np.repeat(first[scanned] - (ends - sizes[scanned]), sizes[scanned])
        if among is None:
            return posting, of
        mask = np.zeros(len(self.segment.ids), dtype=bool)
        mask[among] = True
        kept = mask[self.segment.rows[posting]]
        long = [
            self._looked_up(int(first[at]), int(sizes[at]), int(at), among) for at in np.flatnonzero(~few)
        ]
        found = [(posting[kept], of[kept]), *long]
        posting, of = (np.concatenate(arrays) for arrays in zip(*found, strict=True))
        return posting, of

    def _looked_up(self, first: int, size: int, at: int, among: Rows) -> tuple[Rows, Rows]:
        """The same for one long list."""
        own = self.segment.rows[first : first + size]
        place = np.searchsorted(own, among.astype(np.int32))  # of one type, or the list is copied
        place = place[own[np.minimum(place, len(own) - 1)] == among]
        return place + first, np.full(len(place), at)
