"""What stands around quotes, as far as it is read for whether it says what is asked."""

from __future__ import annotations

from collections.abc import Sequence

from rag.packing import Segment
from rag.quote_features import Range, Sentence

WINDOW_CHARACTERS = 700
"""Longest text around a quote that is read for whether it says what is asked."""

_JOINED_CHARACTERS = 900
_WINDOW_SENTENCES = 2


def windows(quotes: Sequence[Range], sentences: Sequence[Sentence], segments: Sequence[Segment]) -> list[str]:
    """The quotes with up to two sentences before and after each, white space made one; those that meet are
    one."""
    ranges: list[tuple[int, int]] = []
    for quote in quotes:
        rows = [row for row, each in enumerate(sentences) if _within(each, quote)]
        first, last = rows[0], rows[-1]
        for _ in range(_WINDOW_SENTENCES):
            for low, high in ((first - 1, last), (first, last + 1)):
                if low >= 0 and high < len(sentences) and together(sentences, low, high, WINDOW_CHARACTERS):
                    first, last = low, high
        for at, (low, high) in enumerate(ranges):
            joined = min(low, first), max(high, last)
            if first <= high + 1 and low <= last + 1 and together(sentences, *joined, _JOINED_CHARACTERS):
                ranges[at] = joined
                break
        else:
            ranges.append((first, last))
    texts = []
    for first, last in ranges:
        passage = segments[sentences[first].block].passage
        text = passage.text[sentences[first].start - passage.start : sentences[last].end - passage.start]
        texts.append(" ".join(text.split()))
    return texts


def _within(sentence: Sentence, quote: Range) -> bool:
    same = (sentence.document_id, sentence.generation) == (quote.document_id, quote.generation)
    return same and sentence.start < quote.end and quote.start < sentence.end


def together(sentences: Sequence[Sentence], first: int, last: int, most: int) -> bool:
    same = sentences[first].block == sentences[last].block
    return same and sentences[last].end - sentences[first].start <= most
