"""What is known of a sentence before it is quoted: eleven numbers, and the chance that it holds the answer.

The weights were fitted to questions whose answers are known, as a softmax over the sentences of each
question's ten best chunks (`bench/quotes.py --fit`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from rag.asked import asked_kind, same, values
from rag.terms import coverage, rarity, terms

Floats = NDArray[np.float32]

EMBEDDED_SENTENCES = 20
"""Sentences that are embedded for one question; the rest is ruled out by what costs nothing
(docs/decisions/0301-quotes-before-prose.md)."""


class Range(Protocol):
    """A stretch of a document's text, `[start, end)`."""

    @property
    def document_id(self) -> str: ...
    @property
    def generation(self) -> int: ...
    @property
    def start(self) -> int: ...
    @property
    def end(self) -> int: ...


class Chunk(Range, Protocol):
    """The part of a retrieved candidate that is needed here."""

    @property
    def chunk_id(self) -> int: ...
    @property
    def dense_score(self) -> float: ...
    @property
    def score(self) -> float: ...


@dataclass(frozen=True)
class Sentence:
    """A sentence of a packed passage, `[start, end)` in the document's text; `block` numbers the passage,
    `chunk` is the place in the ranking, from 0, of the chunk that it stands in."""

    document_id: str
    generation: int
    start: int
    end: int
    text: str
    block: int
    chunk: int


FEATURES = (
    "cos",
    "chunk",
    "terms",
    "cos_before",
    "cos_after",
    "terms_before",
    "terms_after",
    "terms_chunk",
    "rank",
    "date",
    "number",
)

WEIGHTS = np.array([28.05, 19.16, 7.63, 2.01, 5.01, 1.53, 1.30, 4.27, 1.12, 2.38, 1.07], dtype=np.float32)
"""By `FEATURES`; fitted on the half of the development documents that `bench/quotes.py --part fit` takes."""

_CHEAP = np.array([0.0, 35.61, 11.05, 0.0, 0.0, 1.96, 2.17, 3.56, 1.10, 2.36, 1.31], dtype=np.float32)
"""The same without similarities, for choosing what is embedded."""


def features(question: str, sentences: Sequence[Sentence], chunks: Sequence[Chunk]) -> Floats:
    """One row a sentence by `FEATURES`, float32[n, 11]; the similarities stay 0 (`add_similarity`)."""
    asked = terms(question)
    own = [terms(sentence.text) for sentence in sentences]
    weights = rarity(asked, own)
    shares = [coverage(weights, each) for each in own]
    by_chunk: dict[int, set[str]] = {}
    for sentence, each in zip(sentences, own, strict=True):
        by_chunk.setdefault(sentence.chunk, set()).update(each & asked)
    in_chunk = {rank: coverage(weights, each) for rank, each in by_chunk.items()}
    best = max(chunks[sentence.chunk].dense_score for sentence in sentences)
    table = np.zeros((len(sentences), len(FEATURES)), dtype=np.float32)
    for row, sentence in enumerate(sentences):
        before, after = neighbours(sentences, row)
        table[row] = (
            0.0,
            chunks[sentence.chunk].dense_score - best,
            shares[row],
            0.0,
            0.0,
            shares[before] if before is not None else 0.0,
            shares[after] if after is not None else 0.0,
            in_chunk[sentence.chunk],
            1.0 / (1 + sentence.chunk),
            0.0,
            0.0,
        )
    _asked_for(table, question, sentences)
    return table


def _asked_for(table: Floats, question: str, sentences: Sequence[Sentence]) -> None:
    """Mark the sentences that have a date, or a number, that the question lacks and asks for."""
    kind = asked_kind(question)
    if kind not in ("date", "number"):
        return
    known = [value for value in values(question) if value.kind == kind]
    column = FEATURES.index(kind)
    for row, sentence in enumerate(sentences):
        table[row, column] = any(
            value.kind == kind and not any(same(value, each) for each in known)
            for value in values(sentence.text)
        )


def add_similarity(table: Floats, similarity: Floats, sentences: Sequence[Sentence]) -> None:
    """Fill in the columns that need similarities, float32[n], NaN where a sentence was not embedded."""
    best = np.nanmax(similarity)
    for row in range(len(sentences)):
        if np.isnan(similarity[row]):
            continue
        table[row, 0] = similarity[row] - best
        for column, other in zip((3, 4), neighbours(sentences, row), strict=True):
            if other is not None and not np.isnan(similarity[other]):
                table[row, column] = similarity[other] - similarity[row]


def neighbours(sentences: Sequence[Sentence], row: int) -> tuple[int | None, int | None]:
    """Rows of the sentences before and after in the same passage."""
    here = sentences[row].block
    before = row - 1 if row and sentences[row - 1].block == here else None
    after = row + 1 if row + 1 < len(sentences) and sentences[row + 1].block == here else None
    return before, after


def promising(table: Floats) -> NDArray[np.intp]:
    """Rows worth embedding, in reading order."""
    ranked = np.argsort(-(table @ _CHEAP), kind="stable")
    return np.sort(ranked[:EMBEDDED_SENTENCES])


def softmax(scores: Floats) -> NDArray[np.float64]:
    """Scores to chances that sum to 1."""
    powers = np.exp(scores.astype(np.float64) - scores.max())
    result: NDArray[np.float64] = powers / powers.sum()
    return result
