"""Segments of the lexical index: some chunks as an inverted file in plain arrays, never changed in place.

A segment is in compressed sparse rows: term ids ascending, and for each the rows (chunks) that hold it,
ascending, with their counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from rag.ids import new_id
from rag.index.analysis import CODE_BIT, NAME_BIT, PAIR_BIT, Terms, analyse
from rag.index.rows import Ids, Rows, among, places


@dataclass(frozen=True, eq=False)
class Segment:
    """Some chunks by row: `ids`, `lengths`. The postings of `terms[i]` are `starts[i]` to `starts[i + 1]`."""

    ids: Ids
    lengths: NDArray[np.float32]
    terms: Terms
    starts: NDArray[np.int64]
    rows: NDArray[np.int32]
    counts: NDArray[np.uint8]
    key: str = field(default_factory=lambda: new_id("lex"))
    """Names this very content, for files."""
    _norms: tuple[tuple[float, float, float], NDArray[np.float32]] | None = field(
        default=None, init=False, repr=False
    )

    def find(self, terms: Terms) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return (first, last) postings of each of `terms`; equal where the segment lacks it."""
        if not len(self.terms):
            return np.zeros(len(terms), dtype=np.int64), np.zeros(len(terms), dtype=np.int64)
        at = np.minimum(np.searchsorted(self.terms, terms), len(self.terms) - 1)
        present = self.terms[at] == terms
        first = self.starts[at]
        return first, np.where(present, self.starts[at + 1], first)

    def without(self, ids: Ids) -> Segment:
        """Return the segment without the chunks `ids`, physically: no trace of them stays."""
        gone = np.isin(self.ids, ids)
        if not gone.any():
            return self
        keep = ~gone[self.rows]
        renumbered = np.cumsum(~gone, dtype=np.int64) - 1
        ends = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(keep, dtype=np.int64)])[self.starts]
        used = np.diff(ends) > 0
        return Segment(
            self.ids[~gone],
            self.lengths[~gone],
            self.terms[used],
            np.concatenate([ends[:-1][used], ends[-1:]]),
            renumbered[self.rows[keep]].astype(np.int32),
            self.counts[keep],
        )

    @cached_property
    def total_length(self) -> float:
        """Sum of the lengths of its chunks."""
        return float(self.lengths.sum(dtype=np.float64))

    def norm(self, k1: float, b: float, average: float) -> NDArray[np.float32]:
        """What BM25 adds to a count, by row, where chunks have `average` length; remembered for the last."""
        asked = (k1, b, average)
        known = self._norms
        if known is None or known[0] != asked:
            scale = np.float32(b / max(average, 1e-9))
            known = asked, np.float32(k1) * (np.float32(1 - b) + scale * self.lengths)
            object.__setattr__(self, "_norms", known)
        return known[1]

    @cached_property
    def _order(self) -> tuple[Rows, Ids]:
        """Rows by ascending id, and those ids."""
        order = np.argsort(self.ids, kind="stable")
        return order, self.ids[order]

    def rows_of(self, ids: Ids) -> tuple[Rows, Rows]:
        """Return (places in `ids`, rows) of those that are here; `ids` are ascending."""
        return places(*self._order, ids)

    def rows_among(self, wanted: Ids) -> Rows:
        """Return the rows, ascending, of `wanted` (ascending, each once) that are here."""
        return among(*self._order, wanted)


def build(ids: Sequence[int], texts: Sequence[str]) -> Segment:
    """Index `texts` as the chunks `ids`."""
    pairs = [analyse(text) for text in texts]
    apart = np.uint64(PAIR_BIT | NAME_BIT | CODE_BIT)
    lengths = np.array([counts[(terms & apart) == 0].sum() for terms, counts in pairs], dtype=np.float32)
    sizes = np.array([len(terms) for terms, _ in pairs], dtype=np.int64)
    terms = np.concatenate([terms for terms, _ in pairs]) if pairs else np.zeros(0, dtype=np.uint64)
    counts = np.concatenate([counts for _, counts in pairs]) if pairs else np.zeros(0, dtype=np.int64)
    rows = np.repeat(np.arange(len(pairs), dtype=np.int32), sizes)
    return _segment(
        np.array(ids, dtype=np.int64), lengths, terms, rows, np.minimum(counts, 255).astype(np.uint8)
    )


def _segment(
    ids: Ids,
    lengths: NDArray[np.float32],
    terms: Terms,
    rows: NDArray[np.int32],
    counts: NDArray[np.uint8],
) -> Segment:
    order = np.argsort(terms, kind="stable")
    distinct, first = np.unique(terms[order], return_index=True)
    starts = np.append(first, len(terms)).astype(np.int64)
    return Segment(ids, lengths, distinct, starts, rows[order], counts[order])


def merge(segments: Sequence[Segment]) -> Segment:
    """Join segments of different chunks into one."""
    base = np.cumsum([0, *(len(s.ids) for s in segments)])
    return _segment(
        np.concatenate([s.ids for s in segments]),
        np.concatenate([s.lengths for s in segments]),
        np.concatenate([np.repeat(s.terms, np.diff(s.starts)) for s in segments]),
        np.concatenate([s.rows + np.int32(b) for s, b in zip(segments, base, strict=False)]),
        np.concatenate([s.counts for s in segments]),
    )
