"""Quoting: the few sentences of the packed passages that most likely hold the answer, word for word.

A passage is cut into sentences; each gets features of its own, of its neighbours and of the chunk that it
stands in; a linear score over them, fitted to questions with known answers (`bench/quotes.py --fit`), becomes
by softmax the chance that the answer is in this sentence. A quote is the best sentence with its neighbours,
likelier ones first, while the quote stays short.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import islice
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from rag.disagreement import conflicting
from rag.orders import PRIOR, holds_markup, speaks_to_machine
from rag.packing import Passage, Segment, Spans
from rag.quotable import QUOTE_CHARACTERS, candidate_sentences
from rag.quote_features import (
    FEATURES,
    WEIGHTS,
    Chunk,
    Floats,
    Sentence,
    add_similarity,
    features,
    promising,
    softmax,
)
from rag.span_reader import SpanReader
from rag.surroundings import together, windows
from rag.unsaid import Script, missing_names, missing_numbers, negated, script_of

_FURTHER = 0.01
"""Chance from which a sentence makes a further quote. Below it are a quarter of the second quotes, and
0.5 % of the answers (docs/decisions/0301-quotes-before-prose.md)."""


_APART = 0.02
"""Chance from which a neighbour is taken into the quote even from the next paragraph."""


_CONTRARY = 6
"""Further quotes that are looked at for one that contradicts the first."""


_READ = 2
"""Quotes that the reader reads."""


class SentenceEmbedder(Protocol):
    """The part of an embedder that is needed here."""

    def embed_passages(self, texts: Sequence[str]) -> Floats: ...

    def embed_query(self, text: str) -> Floats: ...


@dataclass(frozen=True)
class Quote:
    """A verbatim range of a document's text; `score` is the chance, from 0 to 1, that it holds the answer.

    `seed` is the range of the likeliest sentence in it, which the quote has grown from.
    """

    document_id: str
    generation: int
    start: int
    end: int
    text: str
    chunk_id: int
    score: float
    seed: tuple[int, int]

    def within(self, start: int, end: int) -> Quote:
        """The quote cut to `[start, end)` where that holds its likeliest sentence; else as it is."""
        start, end = max(start, self.start), min(end, self.end)
        if not start <= self.seed[0] < self.seed[1] <= end or (start, end) == (self.start, self.end):
            return self
        text = self.text[start - self.start : end - self.start]
        start += len(text) - len(text.lstrip())
        return replace(self, start=start, end=start + len(text.strip()), text=text.strip())


@dataclass(frozen=True)
class Evidence:
    """What was found for a question.

    `quotes`, best first. `similarity` is the best cosine of a sentence, `coverage` the share of the
    question's terms in the best sentence's chunk, `share` that sentence's chance, `dense` the best chunk's
    cosine. Of what stands around the quotes: `names` is the share of the question's names that are missing
    there, `numbers` 1 where one of its numbers is, `turned` 1 where only one of the two says "not", `negated`
    1 where the question does. `script` is the question's. All numbers are 0 without sentences. `sentences`
    counts those considered. `margin` is by how much the reader sees the answer in a quote rather than none;
    None without a reader.
    """

    quotes: tuple[Quote, ...] = ()
    similarity: float = 0.0
    coverage: float = 0.0
    share: float = 0.0
    dense: float = 0.0
    names: float = 0.0
    numbers: float = 0.0
    turned: float = 0.0
    negated: float = 0.0
    script: Script = "other"
    sentences: int = 0
    margin: float | None = None


class Quoter:
    """Chooses quotes. Holds no state between questions; safe to share between threads."""

    def __init__(
        self, embedder: SentenceEmbedder, sentences: Spans, reader: SpanReader | None = None
    ) -> None:
        self._embedder = embedder
        self._sentences = sentences
        self._reader = reader

    def evidence(
        self,
        question: str,
        segments: Sequence[Segment],
        chunks: Sequence[Chunk],
        *,
        most: int = 2,
        several: bool = False,
    ) -> Evidence:
        """The value of `find`, without its steps."""
        work = self.find(question, segments, chunks, most=most, several=several)
        while True:
            try:
                next(work)
            except StopIteration as end:
                found: Evidence = end.value
                return found

    def find(
        self,
        question: str,
        segments: Sequence[Segment],
        chunks: Sequence[Chunk],
        *,
        most: int = 2,
        several: bool = False,
    ) -> Generator[tuple[int, int], None, Evidence]:
        """The best `most` quotes for `question` from the retrieved `chunks` (best first) inside `segments`.

        Yields (embedded, total) sentences before the first batch and after each; its value is the evidence.
        The reader reads one passage at a time: where the answer stands in `several` it is not asked.
        """
        sentences = candidate_sentences(segments, chunks, self._sentences)
        if not sentences:
            return Evidence()
        table = features(question, sentences, chunks)
        chosen = promising(table)
        vectors: list[Floats] = []
        asked = self._embedder.embed_query(question)
        yield 0, len(chosen)
        for first in range(0, len(chosen), _BATCH):
            batch = [sentences[i].text for i in chosen[first : first + _BATCH]]
            vectors.append(self._embedder.embed_passages(batch) @ asked)
            yield min(first + _BATCH, len(chosen)), len(chosen)
        similarity = np.full(len(sentences), np.nan, dtype=np.float32)
        similarity[chosen] = np.concatenate(vectors)
        add_similarity(table, similarity, sentences)
        chances = np.zeros(len(sentences), dtype=np.float64)
        prior = [PRIOR if speaks_to_machine(sentences[row].text) else 1.0 for row in chosen]
        chances[chosen] = softmax(table[chosen] @ WEIGHTS + np.log(np.array(prior, dtype=np.float32)))
        quotes = choose(question, candidate_quotes(sentences, chances, segments, chunks), most)
        best = int(np.argmax(chances))
        near = " ".join(windows(quotes[:most], sentences, segments))
        same_chunk = (each.text for each in sentences if each.chunk == sentences[best].chunk)
        return Evidence(
            quotes,
            similarity=float(np.nanmax(similarity)),
            coverage=float(table[best, FEATURES.index("terms_chunk")]),
            share=float(chances[best]),
            dense=max(float(chunk.dense_score) for chunk in chunks),
            names=missing_names(question, near),
            numbers=missing_numbers(question, " ".join((near, *same_chunk))),
            turned=float(negated(question) != negated(near)),
            negated=negated(question),
            script=script_of(question),
            sentences=len(sentences),
            margin=None if several else self._margin(question, quotes),
        )

    def _margin(self, question: str, quotes: Sequence[Quote]) -> float | None:
        if self._reader is None or not quotes:
            return None
        read = self._reader.read(question, [quote.text for quote in quotes[:_READ]])
        return max(each.margin for each in read)


_BATCH = 10


def choose(question: str, ranked: Iterator[tuple[float, Quote]], most: int) -> tuple[Quote, ...]:
    """Up to `most` of the quotes of `candidate_quotes`, and one more where it contradicts the first: a reader
    must see both sides."""
    quotes: list[Quote] = []
    for chance, quote in islice(ranked, most + _CONTRARY):
        if not quotes or (len(quotes) < most and chance > _FURTHER):
            quotes.append(quote)
        elif _contrary(question, quotes[0], quote):
            if not any(_contrary(question, quotes[0], each) for each in quotes[1:]):
                quotes.append(quote)
            break
    return tuple(quotes)


def _contrary(question: str, first: Quote, other: Quote) -> bool:
    return (
        other.document_id != first.document_id and conflicting(question, first.text, other.text) is not None
    )


def candidate_quotes(
    sentences: Sequence[Sentence],
    chances: NDArray[np.float64],
    segments: Sequence[Segment],
    chunks: Sequence[Chunk],
) -> Iterator[tuple[float, Quote]]:
    """Quotes that do not overlap, each with the chance of the sentence that it has grown from: the likeliest
    that is left, grown by neighbours, the likelier first.

    What speaks to a machine, and live markup, is only ever the first.
    """
    left = chances.copy()

    @cache  # each neighbour is looked at again for every quote and every step of its growth
    def is_noise(row: int) -> bool:
        text = sentences[row].text
        return speaks_to_machine(text) or holds_markup(text)

    noise = [row for row, chance in enumerate(chances) if chance > 0 and is_noise(row)]
    while (chance := float(left.max())) > 0:
        seed = first = last = int(np.argmax(left))
        passage = segments[sentences[seed].block].passage
        while True:
            grown = [
                (left[row], low, high)
                for row, low, high in ((first - 1, first - 1, last), (last + 1, first, last + 1))
                if 0 <= row < len(sentences)
                and left[row] >= 0
                and together(sentences, low, high, QUOTE_CHARACTERS)
                and (left[row] >= _APART or _same_paragraph(passage, sentences, row, first, last))
                and not is_noise(row)
            ]
            if not grown:
                break
            _, first, last = max(grown, key=lambda each: each[0])
        start, end = sentences[first].start, sentences[last].end
        text = passage.text[start - passage.start : end - passage.start]
        chunk = chunks[sentences[seed].chunk].chunk_id
        score = float(left[first : last + 1].sum())
        best = (sentences[seed].start, sentences[seed].end)
        yield (
            chance,
            Quote(passage.document_id, passage.generation, start, end, text, chunk, score, best),
        )
        left[first : last + 1] = -1.0
        left[noise] = -1.0


def _same_paragraph(passage: Passage, sentences: Sequence[Sentence], row: int, first: int, last: int) -> bool:
    """Whether no blank line stands between a sentence and the quote `[first, last]` that it would join."""
    gap = (
        (sentences[row].end, sentences[first].start)
        if row < first
        else (sentences[last].end, sentences[row].start)
    )
    return passage.text[gap[0] - passage.start : gap[1] - passage.start].count("\n") < 2
