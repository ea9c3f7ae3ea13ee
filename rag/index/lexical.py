"""BM25 over plain arrays: immutable segments that are added, filtered and merged, never changed in place.

Document frequencies are those of the live chunks alone, at all times, so a history of additions and removals
scores exactly as the surviving chunks indexed from scratch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from rag.index.analysis import Terms
from rag.index.question import terms_of
from rag.index.rows import Ids
from rag.index.scoring import NAMES, PAIRS, RARE, SHARE, Scored, Sought
from rag.index.segments import Segment, build, merge

__all__ = ["NAMES", "PAIRS", "RARE", "SHARE", "LexicalIndex", "Scored", "Segment"]

MERGE_AT = 8
"""So many segments of one size class are merged into one of the next."""
LARGEST = 1 << 23
"""Segments of more postings are left alone: a merge must not make a reader wait long."""


class LexicalIndex:
    """The segments of one collection; a change puts a new tuple in place, a reader keeps the one it took."""

    def __init__(self, segments: Sequence[Segment] = ()) -> None:
        self.segments: tuple[Segment, ...] = tuple(segments)

    def __len__(self) -> int:
        return sum(len(segment.ids) for segment in self.segments)

    def add(self, ids: Sequence[int], texts: Sequence[str]) -> None:
        """Index `texts` under the chunk ids `ids`, which must be new."""
        if len(ids):
            self.segments = _tidy([*self.segments, build(ids, texts)])

    def remove(self, ids: Sequence[int] | Ids) -> None:
        """Forget the chunks `ids`; unknown ones are ignored."""
        gone = np.asarray(ids, dtype=np.int64)
        kept = (segment.without(gone) for segment in self.segments)
        self.segments = tuple(segment for segment in kept if len(segment.ids))

    @property
    def total_length(self) -> float:
        """Sum of the lengths of all chunks, a whole number."""
        return sum(segment.total_length for segment in self.segments)

    def seek(self, terms: Terms) -> Sought:
        """Look up the terms of a question or phrase."""
        return Sought.of(self.segments, terms)

    def score(self, query: str) -> Scored:
        """Prepare to score the chunks for `query`, in a collection of these chunks alone."""
        sought = self.seek(terms_of(query))
        return sought.scored(len(self), self.total_length, sought.frequency)


def _tidy(segments: list[Segment]) -> tuple[Segment, ...]:
    """Merge while `MERGE_AT` segments are of one size class (powers of `MERGE_AT`)."""
    while True:
        classes: dict[int, list[Segment]] = {}
        for segment in segments:
            size = len(segment.rows)
            if size < LARGEST:
                classes.setdefault(int(math.log(max(size, 4096), MERGE_AT)), []).append(segment)
        full = next((group for group in classes.values() if len(group) >= MERGE_AT), None)
        if full is None:
            return tuple(segments)
        merged = {id(segment) for segment in full}
        segments = [s for s in segments if id(s) not in merged] + [merge(full)]
