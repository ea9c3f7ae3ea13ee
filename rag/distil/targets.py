"""Targets: what the model is to write for what it reads: a sentence of a quote with its number, or the
refusal."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from rag.citations import Citation
from rag.distil.reading import Reading, passages
from rag.evaluation.metrics import Place, holds
from rag.language import detect
from rag.phrases import say
from rag.prompts import one_line
from rag.sentences import sentence_spans

Kind = Literal["answer", "refusal"]

LONGEST = 280
"""Characters of a target; a longer sentence is cut to the clauses around the answer."""


@dataclass(frozen=True)
class Target:
    """What is to be written; `holds` is the answer in it, and `citation` the number of the quote that it was
    taken from."""

    kind: Kind
    text: str
    holds: str = ""
    citation: int = 1


def refusal(question: str) -> Target:
    """The sentence that says that the documents do not say, in the question's language."""
    return Target("refusal", say("refusal", detect(question)))


def from_gold(reading: Reading, places: Sequence[Place], answers: Sequence[str]) -> Target | None:
    """The sentence of a quote in which a gold place stands; the refusal where nothing that is read holds an
    answer. None where an answer is read, but stands in no quote or elsewhere than the gold says: what could
    be taught would be unsure."""
    for citation in reading.citations:
        for place in places:
            target = in_citation(citation, place.document, place.start, place.end)
            if target is not None and not place.page:
                return target
    if any(holds(text, answers) for text in passages(reading)):
        return None
    return refusal(reading.question)


def in_citation(citation: Citation, document: str, start: int, end: int) -> Target | None:
    """The sentence of a quote that holds the range of a document; None where the quote does not."""
    first, last = start - citation.start_char_index, end - citation.start_char_index
    text = citation.cited_text
    if citation.document_id != document or not 0 <= first < last <= len(text):
        return None
    for a, b in sentence_spans(text):
        if a <= first and last <= b:
            said = clause(text[a:b], first - a, last - a)
            return Target(
                "answer", f"{one_line(said)} [{citation.id}]", one_line(text[first:last]), citation.id
            )
    return None


_BREAK = re.compile(r"(?<=[,;:–—])\s+|\s+(?=\()")


def clause(sentence: str, start: int, end: int) -> str:
    """A sentence, or of one that is longer than `LONGEST` as many clauses around `[start, end)` as fit."""
    if len(sentence) <= LONGEST:
        return sentence
    cuts = [0, *(match.end() for match in _BREAK.finditer(sentence)), len(sentence)]
    first = max(at for at, cut in enumerate(cuts) if cut <= start)
    last = min(at for at, cut in enumerate(cuts) if cut >= end)
    while first > 0 and cuts[last] - cuts[first - 1] <= LONGEST:
        first -= 1
    while last + 1 < len(cuts) and cuts[last + 1] - cuts[first] <= LONGEST:
        last += 1
    return sentence[cuts[first] : cuts[last]].strip().rstrip(",;:–—")
