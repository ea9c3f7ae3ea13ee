"""Quoting: the few sentences of the packed passages that most likely hold the answer, word for word.

A passage is cut into sentences; each gets features of its own, of its neighbours and of the chunk that it
stands in; a linear score over them, fitted to questions with known answers (`bench/quotes.py --fit`), becomes
by softmax the chance that the answer is in this sentence. `rag.quotes` makes quotes of the best.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from rag.likeness import NEAR, shifted
from rag.orders import PRIOR, speaks_to_machine
from rag.packing import Segment, Spans
from rag.quotable import candidate_sentences
from rag.quote_features import (
    FEATURES,
    WEIGHTS,
    Chunk,
    Floats,
    add_similarity,
    features,
    promising,
    softmax,
)
from rag.quotes import Quote, candidate_quotes, choose, pointed
from rag.span_reader import SpanReader
from rag.surroundings import windows
from rag.unsaid import Script, missing_names, missing_numbers, negated, script_of

_READ = 2
"""Quotes that the reader reads, as one text; beside it, it reads the likeliest sentence by itself."""


class SentenceEmbedder(Protocol):
    """The part of an embedder that is needed here."""

    def embed_passages(self, texts: Sequence[str]) -> Floats: ...

    def embed_query(self, text: str) -> Floats: ...


@dataclass(frozen=True)
class Evidence:
    """What was found for a question.

    `quotes`, best first. `similarity` is the best cosine of a sentence, `coverage` the share of the
    question's terms in the best sentence's chunk, `share` that sentence's chance, `dense` the best chunk's
    cosine. Of what stands around the quotes: `names` is the share of the question's names that are missing
    there, `numbers` 1 where one of its numbers is, `turned` 1 where only one of the two says "not", `negated`
    1 where the question does. `script` is the question's. All numbers are 0 without sentences. `sentences`
    counts those considered. `margin` is the reader's log-odds, in nats, that the quotes say an answer:
    the mean of those of the likeliest sentence and of the quotes together; None where it was not asked.
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
        script = script_of(question)
        near = np.array([shifted(float(each), script) >= NEAR for each in similarity])  # NaN is not
        quotes = choose(question, candidate_quotes(sentences, chances, segments, chunks, near), most)
        best = int(np.argmax(chances))
        around = " ".join(windows(quotes[:most], sentences, segments))
        same_chunk = (each.text for each in sentences if each.chunk == sentences[best].chunk)
        margin, quotes = (None, quotes) if several else self._read(question, quotes)
        return Evidence(
            quotes,
            similarity=float(np.nanmax(similarity)),
            coverage=float(table[best, FEATURES.index("terms_chunk")]),
            share=float(chances[best]),
            dense=max(float(chunk.dense_score) for chunk in chunks),
            names=missing_names(question, around),
            numbers=missing_numbers(question, " ".join((around, *same_chunk))),
            turned=float(negated(question) != negated(around)),
            negated=negated(question),
            script=script,
            sentences=len(sentences),
            margin=margin,
        )

    def _read(self, question: str, quotes: tuple[Quote, ...]) -> tuple[float | None, tuple[Quote, ...]]:
        """What the reader says, and the quotes with the sentence that it points at first, where it finds an
        answer likelier than none."""
        if self._reader is None or not quotes:
            return None, quotes
        few = quotes[:_READ]
        texts = [quotes[0].sentence, "\n".join(quote.text for quote in few)]
        alone, together = self._reader.read(question, texts)
        if together.margin > 0:
            quotes = (*pointed(few, together.span, self._sentences), *quotes[_READ:])
        return (alone.margin + together.margin) / 2, quotes


_BATCH = 10
