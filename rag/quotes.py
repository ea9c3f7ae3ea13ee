"""Quotes: ranges of a text, grown from likely sentences by their neighbours, and which of them are shown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from rag.disagreement import conflicting
from rag.orders import holds_markup, speaks_to_machine
from rag.packing import Passage, Segment, Spans
from rag.quotable import QUOTE_CHARACTERS
from rag.quote_features import Chunk, Sentence
from rag.surroundings import together

_FURTHER = 0.01
"""Chance from which a sentence makes a further quote. Below it are a quarter of the second quotes, and
0.5 % of the answers (docs/decisions/0301-quotes-before-prose.md)."""


SNIPPETS = 5
"""Most quotes where further ones are snippets: as many passages as are read at a glance."""


_APART = 0.02
"""Chance from which a neighbour is taken into the quote even from the next paragraph."""


_FURTHER_LOOKED_AT = 6
"""Further quotes that are looked at for one that contradicts the first, and for short passages."""


@dataclass(frozen=True)
class Quote:
    """A verbatim range of a document's text; `score` is the chance, from 0 to 1, that it holds the answer.

    `seed` is the range of the likeliest sentence in it, which the quote has grown from; `snippet`: it is all
    of a passage of half a quote's length, and may be about what was asked.
    """

    document_id: str
    generation: int
    start: int
    end: int
    text: str
    chunk_id: int
    score: float
    seed: tuple[int, int]
    snippet: bool = False

    @property
    def sentence(self) -> str:
        """The likeliest sentence."""
        return self.text[self.seed[0] - self.start : self.seed[1] - self.start]

    def within(self, start: int, end: int) -> Quote:
        """The quote cut to `[start, end)` where that holds its likeliest sentence; else as it is."""
        start, end = max(start, self.start), min(end, self.end)
        if not start <= self.seed[0] < self.seed[1] <= end or (start, end) == (self.start, self.end):
            return self
        text = self.text[start - self.start : end - self.start]
        start += len(text) - len(text.lstrip())
        return replace(self, start=start, end=start + len(text.strip()), text=text.strip())


def choose(question: str, ranked: Iterator[tuple[float, Quote]], most: int) -> tuple[Quote, ...]:
    """Up to `most` of the quotes of `candidate_quotes`, and two kinds of further ones.

    One that contradicts the first, since a reader must see both sides. And snippets of other documents, up to
    `SNIPPETS` quotes in all: among them likeness to the question chooses badly, and all of them are read in
    the time of two quotes (docs/decisions/0315-snippets-are-quoted-whole.md).
    """
    looked = list(islice(ranked, most + _FURTHER_LOOKED_AT))
    quotes: list[Quote] = []
    for chance, quote in looked:
        if not quotes or (len(quotes) < most and chance > _FURTHER):
            quotes.append(quote)
        elif _contrary(question, quotes[0], quote):
            if not any(_contrary(question, quotes[0], each) for each in quotes[1:]):
                quotes.append(quote)
            break
    for _, quote in looked:
        fresh = quote.document_id not in {each.document_id for each in quotes}
        if quote.snippet and fresh and len(quotes) < SNIPPETS:
            quotes.append(quote)
    return tuple(quotes)


def pointed(quotes: Sequence[Quote], span: tuple[int, int], sentences: Spans) -> tuple[Quote, ...]:
    """The quotes with the one that `span` points into first, and the sentence that it points at as the
    likeliest. `span` is in the characters of the quotes' texts, one a line; outside of them nothing changes.
    """
    start = 0
    for place, quote in enumerate(quotes):
        low, high = span[0] - start, span[1] - start
        hit = [(a, b) for a, b in sentences(quote.text) if a < high and low < b]
        if hit and low >= 0:
            seed = (quote.start + hit[0][0], quote.start + hit[-1][1])
            return (replace(quote, seed=seed), *quotes[:place], *quotes[place + 1 :])
        start += len(quote.text) + 1
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
    near: NDArray[np.bool_],
) -> Iterator[tuple[float, Quote]]:
    """Quotes that do not overlap, each with the chance of the sentence that it has grown from: the likeliest
    that is left, grown by neighbours, the likelier first.

    What speaks to a machine, and live markup, is only ever the first. `near`: of each sentence, whether it
    may be about what was asked.
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
        snippet = (
            2 * len(text) <= QUOTE_CHARACTERS
            and text == passage.text.strip()
            and bool(near[first : last + 1].any())
        )
        yield (
            chance,
            Quote(passage.document_id, passage.generation, start, end, text, chunk, score, best, snippet),
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
