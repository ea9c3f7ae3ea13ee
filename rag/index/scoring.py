"""Scores the chunks of a lexical index for one question, only as far as somebody asks for them.

To find the best, terms are taken from the rarest to the commonest. Once what is left of them could no longer
bring a chunk among the best, it is passed over (MaxScore: Turtle and Flood 1995), so the commonest words and
4-grams, which are most of the postings, are looked up for few chunks. What comes out is what scoring all
would give, to the bit.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rag.index.analysis import CODE_BIT, GRAM_BIT, NAME_BIT, PAIR_BIT, Terms, is_word
from rag.index.rows import Ids, Rows, ascending
from rag.index.segments import Segment

K1 = 1.2
B = 0.75
GRAM_WEIGHT = 0.4
SHARE, RARE, PAIRS, NAMES = range(4)
"""Rows of the tables of scores."""
FIRST_STEP = 20_000
"""Postings before the first look at what can be passed over, or as many as there are chunks."""
LONG, LOOK_UP = 30_000, 8
"""A list of more postings, and so many times as many as rows that matter, is not scanned but searched."""
UNIT = 1 << 30
"""Scores are summed in whole units, 1 being so many: then no order of the terms changes a sum."""

Floats = NDArray[np.float32]
Sums = NDArray[np.float64]


_NONE = np.zeros(0, dtype=np.intp), np.zeros(0, dtype=np.intp), np.zeros(0, dtype=np.float32)


@dataclass(frozen=True, eq=False)
class Part:
    """A segment and where in it the postings of each of the question's terms are."""

    segment: Segment
    first: NDArray[np.int64]
    last: NDArray[np.int64]
    norm: Floats
    """What BM25 adds to a count, by row."""

    def postings(self, terms: slice | Rows, rows: Rows | None) -> tuple[Rows, Rows, Floats]:
        """Return row, term and count of each posting of some terms, among `rows`, ascending, if given.

        They come by term.
        """
        chosen = np.arange(len(self.first))[terms]
        sizes = (self.last - self.first)[chosen]
        chosen, sizes = chosen[sizes > 0], sizes[sizes > 0]
        if not len(chosen):
            return _NONE
        if rows is None:
            slices = [slice(self.first[term], self.last[term]) for term in chosen]
            found = np.concatenate([self.segment.rows[each] for each in slices]).astype(np.intp)
            counts = np.concatenate([self.segment.counts[each] for each in slices]).astype(np.float32)
            return found, np.repeat(chosen, sizes), counts
        scanned = sizes <= max(LONG, LOOK_UP * len(rows))
        at, term = self._scanned(chosen[scanned], rows)
        if not scanned.all():
            parts = [(at, term), *(self._looked_up(each, rows) for each in chosen[~scanned])]
            at, term = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
            order = np.argsort(term, kind="stable")
            at, term = at[order], term[order]
        return self.segment.rows[at].astype(np.intp), term, self.segment.counts[at].astype(np.float32)

    def _scanned(self, terms: Rows, rows: Rows) -> tuple[Rows, Rows]:
        """Where the postings of short lists are that belong to `rows`, and of which term each is."""
        if not len(terms):
            return _NONE[:2]
        mask = np.zeros(len(self.segment.ids), dtype=bool)
        mask[rows] = True
        first, sizes = self.first[terms], (self.last - self.first)[terms]
        lists = [self.segment.rows[self.first[term] : self.last[term]] for term in terms]
        kept = np.flatnonzero(mask.take(np.concatenate(lists)))
        ends = np.cumsum(sizes)
        of = np.searchsorted(ends, kept, side="right")
        return kept - (ends - sizes)[of] + first[of], terms[of]

    def _looked_up(self, term: int, rows: Rows) -> tuple[Rows, Rows]:
        """The same for one long list."""
        own = self.segment.rows[self.first[term] : self.last[term]]
        at = np.searchsorted(own, rows.astype(np.int32))  # of one type, or the list is copied
        at = at[own[np.minimum(at, len(own) - 1)] == rows]
        return at + self.first[term], np.full(len(at), term)

    def saturated(self, rows: Rows, counts: Floats, weights: Floats) -> Floats:
        """BM25's part of a count (Robertson and Zaragoza 2009, eq. 3.15) without its factor k1 + 1, weighted
        and in whole units."""
        below = self.norm.take(rows)
        below += counts
        values: Floats = counts / below
        values *= weights
        return np.rint(values, out=values)


@dataclass(frozen=True, eq=False)
class Scored:
    """What the words say of the chunks for one question.

    There are four shares of the best that any text could have, from 0 (nothing matches) to 1. SHARE is BM25
    over words and their parts, divided by the score of a chunk that held every term of the question many
    times, terms that occur nowhere included; 0.3 is a good match. RARE counts each of the question's words
    once, by the square of its rarity. PAIRS is BM25 over two words that follow one another. NAMES is RARE
    within title, file name and headings. `coverage` is the share of the question's terms, by weight, that
    occur in the collection at all.
    """

    parts: tuple[Part, ...]
    weights: Floats
    """Whole units, float32[4, terms], by descending rarity of the terms."""
    frequency: NDArray[np.int64]
    """Chunks that hold each of the terms."""
    coverage: float

    @classmethod
    def of_terms(cls, segments: tuple[Segment, ...], terms: Terms) -> Scored:
        """Prepare to score for a question of these distinct terms, its names in the order of its words."""
        total = sum(len(segment.ids) for segment in segments)
        places = [segment.find(terms) for segment in segments]
        frequency = sum((last - first for first, last in places), np.zeros(len(terms), dtype=np.int64))
        weights = _weights(terms, frequency, total)
        average = sum(segment.total_length for segment in segments) / total
        order = np.lexsort((terms, frequency))
        parts = tuple(
            Part(segment, first[order], last[order], _norm(segment, average))
            for segment, (first, last) in zip(segments, places, strict=True)
        )
        coverage = float(weights[SHARE][frequency > 0].sum())
        return cls(parts, np.rint(weights[:, order] * np.float32(UNIT)), frequency[order], coverage)

    def best(self, k: int, allowed: Ids | None = None) -> tuple[Ids, Floats]:
        """Return the `k` best chunks by SHARE of those that have any, among `allowed` if given."""
        weights = self.weights[SHARE]
        left = weights.sum(dtype=np.float64) - np.cumsum(weights, dtype=np.float64)
        among = self._rows(allowed)
        sums = [np.zeros(len(part.segment.ids)) for part in self.parts]
        kth = 1.0
        for step in _doubling(np.cumsum(self.frequency), max(FIRST_STEP, sum(map(len, sums)))):
            terms = step.start + np.flatnonzero(weights[step])
            for part, own, rows in zip(self.parts, sums, among, strict=True):
                found, term, counts = part.postings(terms, rows)
                values = part.saturated(found, counts, weights[term])
                if rows is None:
                    own += np.bincount(found, values, len(own))  # noqa: PLW2901
                elif len(found):
                    own[rows] += np.bincount(np.searchsorted(rows, found), values, len(rows))
            kth = _kth(sums, k, kth)
            least = kth - left[step.stop - 1]
            if least > 1:
                among = [
                    np.flatnonzero(own >= least) if rows is None else rows[own[rows] >= least]
                    for own, rows in zip(sums, among, strict=True)
                ]
        return self._ranked(sums, k, kth)

    def holding(self, k: int, allowed: Ids | None = None) -> Ids:
        """Return the `k` chunks that most likely hold the question word for word: most words, in order."""
        sums = []
        for part, within in zip(self.parts, self._rows(allowed), strict=True):
            own = np.zeros(len(part.segment.ids))
            for line in (RARE, PAIRS):
                rows, term, counts = part.postings(np.flatnonzero(self.weights[line]), within)
                values = self.weights[line][term]
                if line == PAIRS:
                    values = part.saturated(rows, counts, values)
                own += np.bincount(rows, values, len(own))
            sums.append(own)
        return self._ranked(sums, k, _kth(sums, k, 1.0))[0]

    def of(self, wanted: Ids) -> Floats:
        """Return the shares of the chunks `wanted`, float32[4, len(wanted)], 0 for an unknown one."""
        out = np.zeros((4, len(wanted)))
        for part in self.parts:
            places, held = part.segment.rows_of(wanted)
            if not len(places):
                continue
            held, again = np.unique(held, return_inverse=True)
            rows, term, counts = part.postings(slice(None), held)
            at = np.searchsorted(held, rows)
            for line in range(4):
                values = self.weights[line][term]
                if line in (SHARE, PAIRS):
                    values = part.saturated(rows, counts, values)
                out[line, places] = np.bincount(at, values, len(held))[again]
        return (out / UNIT).astype(np.float32)

    def _rows(self, allowed: Ids | None) -> list[Rows | None]:
        """The rows of each part that may be found, None for all."""
        if allowed is None:
            return [None] * len(self.parts)
        wanted = ascending(allowed)
        return [part.segment.rows_among(wanted) for part in self.parts]

    def _ranked(self, sums: list[Sums], k: int, least: float) -> tuple[Ids, Floats]:
        """The `k` best of all sums, of which none is below `least`; equal scores go by id."""
        tops = [np.flatnonzero(own >= least) for own in sums]
        none = np.zeros(0, dtype=np.int64), np.zeros(0)
        found = [(p.segment.ids[top], own[top]) for p, own, top in zip(self.parts, sums, tops, strict=True)]
        ids, units = (np.concatenate(parts) for parts in zip(none, *found, strict=True))
        order = np.lexsort((ids, -units))[:k]
        return ids[order], (units[order] / UNIT).astype(np.float32)


NOTHING = Scored((), np.zeros((4, 0), dtype=np.float32), np.zeros(0, dtype=np.int64), 0.0)
"""What an index without chunks, or a question without terms, comes to."""


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


def _norm(segment: Segment, average: float) -> Floats:
    norm: Floats = np.float32(K1) * (np.float32(1 - B) + np.float32(B / max(average, 1e-9)) * segment.lengths)
    return norm


def _doubling(postings: NDArray[np.int64], step: int) -> Iterator[slice]:
    """Cut terms with so many postings up to each into steps of `step`, twice that, and so on."""
    at = 0
    while at < len(postings):
        done = int(postings[at - 1]) if at else 0
        end = max(at + 1, int(np.searchsorted(postings, done + step, side="right")))
        yield slice(at, end)
        at, step = end, 2 * step


def _kth(sums: list[Sums], k: int, least: float) -> float:
    """The k-th best of all sums, if it is above `least`; that otherwise."""
    best = np.concatenate([np.zeros(0), *(own[own >= least] for own in sums)])
    if len(best) < k:
        return least
    return max(least, float(np.partition(best, len(best) - k)[len(best) - k]))
