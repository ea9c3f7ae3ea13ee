"""The sentences that may be quoted: those of the packed passages that stand in a retrieved chunk."""

from __future__ import annotations

from collections.abc import Sequence

from rag.packing import Segment, Spans
from rag.quote_features import Chunk, Sentence

QUOTE_CHARACTERS = 400
"""Longest quote, in code points."""


def candidate_sentences(segments: Sequence[Segment], chunks: Sequence[Chunk], spans: Spans) -> list[Sentence]:
    """Sentences of the segments that stand in a retrieved chunk, in reading order, none longer than a quote
    may be.

    A sentence belongs to the best ranked chunk that holds its start, or else that it runs into.
    """
    found: list[Sentence] = []
    for block, segment in enumerate(segments):
        passage = segment.passage
        inside = [
            (rank, chunk)
            for rank, chunk in enumerate(chunks)
            if chunk.document_id == passage.document_id and chunk.generation == passage.generation
        ]
        if not inside:
            continue
        for begin, stop in spans(passage.text):
            for a, b in _short_enough(passage.text, begin, stop):
                start, end = passage.start + a, passage.start + b
                holding = [rank for rank, chunk in inside if chunk.start <= start < chunk.end]
                touching = [rank for rank, chunk in inside if chunk.start < end and start < chunk.end]
                if touching:
                    rank = min(holding or touching)
                    text = passage.text[a:b]
                    found.append(
                        Sentence(passage.document_id, passage.generation, start, end, text, block, rank)
                    )
    return found


def _short_enough(text: str, start: int, end: int) -> list[tuple[int, int]]:
    """The range itself, stripped, or pieces of it within the limit, cut after a line, clause or word."""
    pieces: list[tuple[int, int]] = []
    while start < end:
        if text[start].isspace():
            start += 1
            continue
        stop = end
        if end - start > QUOTE_CHARACTERS:
            window = text[start : start + QUOTE_CHARACTERS]
            marks = (window.rfind("\n"), *(window.rfind(mark) for mark in (";", "；", "، ", ", ", "，")))
            cut = next((at + 1 for at in marks if at >= QUOTE_CHARACTERS // 3), 0) or window.rfind(" ")
            stop = start + (cut if cut > 0 else QUOTE_CHARACTERS)
        last = stop
        while last > start and text[last - 1].isspace():
            last -= 1
        pieces.append((start, last))
        start = stop
    return pieces
