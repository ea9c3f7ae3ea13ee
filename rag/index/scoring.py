"""Scores the chunks of a lexical index for one question, only as far as somebody asks for them.

To find the best, terms are taken from the rarest to the commonest. Once what is left of them could no longer
bring a chunk among the best, it is passed over (MaxScore: Turtle and Flood 1995), so the commonest words and
4-grams, which are most of the postings, are looked up for few chunks. What comes out is what scoring all
would give, to the bit.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from rag.index.analysis import CODE_BIT, GRAM_BIT, NAME_BIT, PAIR_BIT, Terms, is_word
from rag.index.postings import Floats, Part, Postings, Units
from rag.index.question import Counted
from rag.index.rows import Ids, Rows, ascending
from rag.index.segments import Segment

K1 = 1.2
B = 0.75
GRAM_WEIGHT = 0.4
SHARE, RARE, PAIRS, NAMES = range(4)
"""Rows of the tables of scores."""
FIRST_STEP = 20_000
"""Postings before the first look at what can be passed over, or as many as `OF_EACH` of every chunk."""
OF_EACH = 5
MANY = 16
"""Times as many sums as results, from which on the least result is looked for among the likely ones."""
UNIT = 1 << 30
"""Scores are summed in whole units, 1 being so many: then no order of the terms changes a sum."""

Sums = NDArray[np.int64] | Units


@dataclass(frozen=True, eq=False)
class Leg:
    """Chunks by falling score: `sums` are in whole units; equal ones go by id."""

    ids: Ids
    sums: NDArray[np.int64]

    @property
    def shares(self) -> Floats:
        """The scores as shares of the best that any text could have."""
        return (self.sums / UNIT).astype(np.float32)


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

    postings: Postings
    weights: Floats
    """Whole units, float32[4, terms], by descending rarity of the terms."""
    frequency: NDArray[np.int64]
    """Chunks in these segments that hold each of the terms."""
    coverage: float

    def best(self, k: int, allowed: Ids | None = None) -> Leg:
        """Return the `k` best chunks by SHARE of those that have any, among `allowed` if given."""
        weights = self.weights[SHARE]
        left = weights.sum(dtype=np.float64) - np.cumsum(weights, dtype=np.float64)
        among = self._rows(allowed)
        sums: Units = self.postings.nothing(1, among)[0]
        kth, first_step = 1, max(FIRST_STEP, OF_EACH * len(sums))
        for step in _doubling(np.cumsum(self.frequency), first_step):
            self.postings.add(sums[None], step, weights[None, step], (True,), among)
            kth = _kth(sums, k, kth)
            least = kth - math.floor(left[step.stop - 1])
            if least > 1:
                kept = np.flatnonzero(sums >= least)
                if len(kept) <= len(sums) // 2:  # else to tell them apart takes longer
                    sums, among = sums[kept], kept if among is None else among[kept]
        return self._ranked(sums, among, k, kth)

    def holding(self, k: int, allowed: Ids | None = None) -> Leg:
        """Return the `k` chunks that most likely hold the question word for word: most words, in order."""
        lines = [RARE, PAIRS]
        among = self._rows(allowed)
        own = self.postings.nothing(2, among)
        self.postings.add(own, slice(None), self.weights[lines], (False, True), among)
        sums = own.sum(axis=0, dtype=np.int64)
        return self._ranked(sums, among, k, _kth(sums, k, 1))

    def of(self, wanted: Ids) -> Floats:
        """Return the shares of the chunks `wanted`, float32[4, len(wanted)], 0 for an unknown one."""
        out = np.zeros((4, len(wanted)))
        order = np.argsort(wanted)
        places, held = self.postings.places(wanted[order])
        held, again = np.unique(held, return_inverse=True)
        own = self.postings.nothing(4, held)
        self.postings.add(own, slice(None), self.weights, _SATURATED, held)
        out[:, order[places]] = own[:, again]
        return (out / UNIT).astype(np.float32)

    def _rows(self, allowed: Ids | None) -> Rows | None:
        """The rows that may be found, None for all."""
        return None if allowed is None else self.postings.among(ascending(allowed))

    def _ranked(self, sums: Sums, among: Rows | None, k: int, least: int) -> Leg:
        """The `k` best of the sums, of which none is below `least`; equal scores go by id."""
        top = np.flatnonzero(sums >= least)
        found, score = self.postings.ids(top if among is None else among[top]), sums[top].astype(np.int64)
        order = np.lexsort((found, -score))[:k]
        return Leg(found[order], score[order])


_SATURATED = (True, False, True, False)
"""Rows of the tables in which a term's count counts."""

NOTHING = Scored(Postings(()), np.zeros((4, 0), dtype=np.float32), np.zeros(0, dtype=np.int64), 0.0)
"""What a collection without chunks, or a question without terms, comes to."""


@dataclass(frozen=True, eq=False)
class Sought:
    """Where the postings of some distinct terms are in the segments of an index."""

    segments: tuple[Segment, ...]
    terms: Terms
    places: tuple[tuple[Counted, Counted], ...]
    """First and last posting of each term, by segment."""

    @classmethod
    def of(cls, segments: tuple[Segment, ...], terms: Terms) -> Sought:
        """Look up the terms of a text, its names in the order of its words."""
        return cls(segments, terms, tuple(segment.find(terms) for segment in segments))

    @cached_property
    def frequency(self) -> Counted:
        """Chunks here that hold each of the terms."""
        nothing = np.zeros(len(self.terms), dtype=np.int64)
        return sum((last - first for first, last in self.places), nothing)

    def scored(self, chunks: int, length: float, frequency: Counted) -> Scored:
        """Prepare to score, with weights from a collection of so many chunks, so long together, of which so
        many hold each term; these segments are all of it or a part."""
        if not chunks or not len(self.terms):
            return NOTHING
        weights = _weights(self.terms, frequency, chunks)
        order = np.lexsort((self.terms, self.frequency))
        parts = tuple(
            Part(segment, first[order], last[order], segment.norm(K1, B, length / chunks))
            for segment, (first, last) in zip(self.segments, self.places, strict=True)
        )
        coverage = float(weights[SHARE][frequency > 0].sum())
        units = np.rint(weights[:, order] * np.float32(UNIT))
        return Scored(Postings(parts), units, self.frequency[order], coverage)


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


def _doubling(postings: NDArray[np.int64], step: int) -> Iterator[slice]:
    """Cut terms with so many postings up to each into steps of `step`, twice that, and so on."""
    at = 0
    while at < len(postings):
        done = int(postings[at - 1]) if at else 0
        end = max(at + 1, int(np.searchsorted(postings, done + step, side="right")))
        yield slice(at, end)
        at, step = end, 2 * step


def _kth(sums: Sums, k: int, least: int) -> int:
    """The k-th best of the sums, if it is above `least`; that otherwise."""
    best = sums
    if len(best) > MANY * k:
        # what every sixteenth lets expect; where it was too much, all are looked at
        some = best[::MANY]
        at = len(some) - max(1, k // 4)
        likely = np.partition(some, at)[at]
        above = best[best >= likely]
        best = above if len(above) >= k else best
    if len(best) < k:
        return least
    return max(least, int(np.partition(best, len(best) - k)[len(best) - k]))
