"""A question as an index is asked it: terms and vector; and what an index counts for its weights.

Weights come from the frequencies of terms in the whole collection. Counts of its parts add up to those of
the whole, so who sums them first gets from each part the scores that one index would give.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rag.index.analysis import NAMES_END, Terms, analyse, as_names, is_word
from rag.index.rows import Ids

Floats = NDArray[np.float32]
Counted = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Question:
    """What is looked for: `vector` by meaning, `texts` by words; `k` chunks by each.

    The first of `texts` are the question's own terms; the others are those of its quoted phrases.
    """

    vector: Floats
    k: int
    texts: tuple[Terms, ...]

    @classmethod
    def of(cls, text: str, vector: Floats, k: int, phrases: Sequence[str] = ()) -> Question:
        """Analyse the question and its phrases."""
        return cls(vector, k, tuple(terms_of(each) for each in (text, *phrases)))


@dataclass(frozen=True, eq=False)
class Statistics:
    """What the weights of a question's terms come from: how many chunks there are, how long all of them are
    together, and how many hold each term of each of the question's texts."""

    chunks: int
    length: float
    frequencies: tuple[Counted, ...]


def total(parts: Iterable[Statistics]) -> Statistics:
    """Add up what the parts of a collection count: lengths are whole numbers, so the sum is exact."""
    first, *others = parts
    chunks, length, frequencies = first.chunks, first.length, list(first.frequencies)
    for other in others:
        chunks, length = chunks + other.chunks, length + other.length
        frequencies = [mine + its for mine, its in zip(frequencies, other.frequencies, strict=True)]
    return Statistics(chunks, length, tuple(frequencies))


def terms_of(text: str) -> Terms:
    """Return the distinct terms that a question looks for: its own, then its words as names."""
    own, _ = analyse(text.replace(NAMES_END, " "))
    return np.concatenate([own, as_names(own[is_word(own)])]) if len(own) else own


def ids_of(lists: Iterable[Ids]) -> Ids:
    """Lay lists of ids end to end; none are an empty one."""
    return np.concatenate([np.zeros(0, dtype=np.int64), *lists])
