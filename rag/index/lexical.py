"""BM25 over plain arrays: immutable segments that are added, filtered and merged, never changed in place.

A segment is an inverted file in compressed sparse rows: term ids ascending, and for each the rows (chunks)
that hold it with their counts. Document frequencies are those of the live chunks alone, at all times, so a
history of additions and removals scores exactly as the surviving chunks indexed from scratch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from rag.ids import new_id
from rag.index.analysis import (
    CODE_BIT,
    GRAM_BIT,
    NAME_BIT,
    NAMES_END,
    PAIR_BIT,
    Terms,
    analyse,
    as_names,
    is_word,
)

K1 = 1.2
B = 0.75
GRAM_WEIGHT = 0.4
MERGE_AT = 8
"""So many segments of one size class are merged into one of the next."""
LARGEST = 1 << 23
"""Segments of more postings are left alone: a merge must not make a reader wait long."""

Ids = NDArray[np.int64]
Floats = NDArray[np.float32]


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


SHARE, RARE, PAIRS, NAMES = range(4)
"""Rows of the tables in `Scored`."""


@dataclass(frozen=True, eq=False)
class Scored:
    """What the words say of every chunk for one question: (ids[n], float32[4, n]) for each segment.

    All four are shares of the best that any text could have, from 0 (nothing matches) to 1. SHARE is BM25
    over words and their parts, divided by the score of a chunk that held every term of the question many
    times, terms that occur nowhere included; 0.3 is a good match. RARE counts each of the question's words
    once, by the square of its rarity. PAIRS is BM25 over two words that follow one another. NAMES is RARE
    within title, file name and headings. `coverage` is the share of the question's terms, by weight, that
    occur in the collection at all.
    """

    parts: tuple[tuple[Ids, Floats], ...]
    coverage: float

    def best(self, k: int, allowed: Ids | None = None) -> tuple[Ids, Floats]:
        """Return the `k` best chunks by SHARE of those that have any, among `allowed` if given."""
        found = [(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.float32))]
        for ids, table in self.parts:
            scores: Floats = table[SHARE]
            if allowed is not None:
                within = np.isin(ids, allowed)
                ids, scores = ids[within], scores[within]  # noqa: PLW2901
            top = _top(scores, k)
            found.append((ids[top], scores[top]))
        all_ids = np.concatenate([ids for ids, _ in found])
        all_scores = np.concatenate([scores for _, scores in found])
        # equal scores go by id: the order must not depend on how the chunks are spread over segments
        order = np.lexsort((all_ids, -all_scores))[:k]
        return all_ids[order], all_scores[order]

    def holding(self, k: int, allowed: Ids | None = None) -> Ids:
        """Return the `k` chunks that most likely hold the question word for word: most words, in order."""
        table = [(ids, part[RARE] + part[PAIRS]) for ids, part in self.parts]
        return Scored(tuple((ids, score[None]) for ids, score in table), self.coverage).best(k, allowed)[0]

    def of(self, wanted: Ids) -> Floats:
        """Return the shares of the chunks `wanted`, float32[4, len(wanted)], 0 for an unknown one."""
        out = np.zeros((4, len(wanted)), dtype=np.float32)
        for ids, table in self.parts:
            order = np.argsort(ids)
            at = np.minimum(np.searchsorted(ids, wanted, sorter=order), len(ids) - 1)
            rows = order[at]
            held = ids[rows] == wanted
            out[:, held] = table[:, rows[held]]
        return out


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

    def score(self, query: str) -> Scored:
        """Score every chunk for `query`."""
        segments = self.segments
        own, _ = analyse(query.replace(NAMES_END, " "))
        total = sum(len(segment.ids) for segment in segments)
        if not total or not len(own):
            return Scored((), 0.0)
        terms = np.concatenate([own, as_names(own[is_word(own)])])
        places = [segment.find(terms) for segment in segments]
        frequency = sum((last - first for first, last in places), np.zeros(len(terms), dtype=np.int64))
        weights = _weights(terms, frequency, total)
        average = sum(segment.total_length for segment in segments) / total
        parts = tuple(
            (segment.ids, _score(segment, first, last, weights, average))
            for segment, (first, last) in zip(segments, places, strict=True)
        )
        return Scored(parts, float(weights[SHARE][frequency > 0].sum()))


def _weights(terms: Terms, frequency: NDArray[np.int64], total: int) -> Floats:
    """Weight of each term for each row of the table, float32[4, terms]; each row's question sums to 1.

    Inverse document frequency is Lucene's, ln(1 + (N - n + 0.5) / (n + 0.5)). A word that occurs nowhere
    takes its share away; an identifier that does is left out, since its parts stand for it.
    """
    idf = np.log1p((total - frequency + 0.5) / (frequency + 0.5))
    code = (terms & np.uint64(CODE_BIT)) != 0
    named = (terms & np.uint64(NAME_BIT)) != 0
    pair = (terms & np.uint64(PAIR_BIT)) != 0
    gram = (terms & np.uint64(GRAM_BIT)) != 0
    whole = is_word(terms)
    idf[code & (frequency == 0)] = 0
    rare = np.where(whole, idf * idf, 0)
    weights = np.zeros((4, len(terms)))
    weights[SHARE] = np.where(whole, idf, np.where(gram, GRAM_WEIGHT * idf, 0))
    weights[RARE] = rare
    weights[PAIRS] = np.where(pair, idf, 0)
    # a name weighs as the same word does in all of the text; both stand in the order of the words' ids
    weights[NAMES][named] = rare[whole]
    sums = weights.sum(axis=1, keepdims=True)
    return (weights / np.where(sums > 0, sums, 1)).astype(np.float32)


def _score(
    segment: Segment,
    first: NDArray[np.int64],
    last: NDArray[np.int64],
    weights: Floats,
    average: float,
) -> Floats:
    """Every chunk's row of shares: BM25 (Robertson and Zaragoza 2009, eq. 3.15) without its factor k1 + 1."""
    table = np.zeros((4, len(segment.ids)), dtype=np.float32)
    norm = np.float32(K1) * (np.float32(1 - B) + np.float32(B / max(average, 1e-9)) * segment.lengths)
    for index in np.flatnonzero(last > first):
        postings = slice(first[index], last[index])
        rows = segment.rows[postings].astype(np.intp)
        share, rare, pairs, names = weights[:, index]
        for line, weight in ((RARE, rare), (NAMES, names)):
            if weight:
                table[line, rows] += weight
        if not share and not pairs:
            continue
        count = segment.counts[postings].astype(np.float32)
        # in place, with take: half the time of the plain expression
        saturated = norm.take(rows)
        saturated += count
        count /= saturated
        count *= share or pairs
        scores = table[SHARE if share else PAIRS]
        count += scores.take(rows)
        scores[rows] = count
    return table


def _top(scores: NDArray[np.float32], k: int) -> NDArray[np.int64]:
    """Return the rows of the `k` best positive scores and all that equal the last of them."""
    if len(scores) > k:
        least = np.partition(scores, len(scores) - k)[len(scores) - k]
        return np.flatnonzero((scores >= least) & (scores > 0))
    return np.flatnonzero(scores > 0)


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
