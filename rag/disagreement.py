"""Disagreement: quotes of different documents that give different dates, numbers or names for what was asked.

Precision comes before recall: a false alarm tells a reader that good sources are in doubt. Two quotes
disagree only where each is about what was asked, neither has the other's value anywhere, and the two values
stand in the same role: between the same words, or each alone of the kind that was asked for, in a sentence
that is about the question. Measurements: docs/decisions/0305-disagreement.md.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

from rag.asked import Kind, Value, ValueKind, asked_kind, same, values
from rag.citations import Citation
from rag.sentences import sentence_spans
from rag.terms import terms

ABOUT = 0.5
"""Share of the question's terms that a quote must have for being about the same thing."""

ABOUT_ALONE = 0.65
"""As `ABOUT`, for the sentence around a value that only its kind marks as the one that was asked for."""

VERSIONS = 0.6
"""Share of common terms (Jaccard) from which two texts are versions of one."""

ABOUT_VERSIONS = 0.2
"""As `ABOUT`, where the quotes are versions of one text."""

ROLE = 3
"""Words in common right around two values, on both sides, from which they stand in the same role."""

_WORD = re.compile(r"\w+")
_BYLINE = re.compile(r" ?(?:\.\.\.|…|—|–|:)")
_KINDS: dict[Kind, tuple[ValueKind, ...]] = {
    "date": ("date",),
    "number": ("number",),
    "person": ("name",),
    "place": ("name",),
    "thing": ("name", "number", "date"),
}


@dataclass(frozen=True)
class Disagreement:
    """Citations, by their ids, that say different things; `values` are their words, one for each citation, as
    they stand there; `kind` is `date`, `number` or `name`."""

    citation_ids: tuple[int, ...]
    values: tuple[str, ...]
    kind: ValueKind

    def as_dict(self) -> dict[str, Any]:
        """As the API shows it."""
        return asdict(self)


@dataclass(frozen=True)
class Conflict:
    """What two texts say differently."""

    kind: ValueKind
    one: str
    other: str


def disagreements(question: str, citations: Sequence[Citation]) -> tuple[Disagreement, ...]:
    """Every pair of citations that disagree on what was asked, in the order of their ids.

    Only quotes of different documents are compared: a document that gives two values mostly speaks of two
    things.
    """
    found = []
    for one, other in combinations(citations, 2):
        if one.document_id == other.document_id:
            continue
        conflict = conflicting(question, one.cited_text, other.cited_text)
        if conflict is not None:
            found.append(Disagreement((one.id, other.id), (conflict.one, conflict.other), conflict.kind))
    return tuple(found)


def conflicting(question: str, one: str, other: str) -> Conflict | None:
    """The two values that two texts give for what was asked, or None where they may both be right."""
    asked = asked_kind(question)
    share = ABOUT_VERSIONS if _versions(one, other) else ABOUT
    if not all(_about(question, text, share) for text in (one, other)):
        return None
    named, in_one, in_other = values(question), values(one), values(other)
    if _of_another_year(named, in_one, in_other):
        return None
    for kind in _KINDS[asked]:
        here, there = _claims(named, one, in_one, kind), _claims(named, other, in_other, kind)
        mine = [value for value in here if not _said(value, there, other)]
        theirs = [value for value in there if not _said(value, here, one)]
        if not mine or not theirs:
            continue
        role, first, second = max(
            ((_role(one, a, other, b), a, b) for a in mine for b in theirs), key=lambda each: each[0]
        )
        alone = asked in ("date", "number") and len(mine) == len(here) == len(theirs) == len(there) == 1
        if role >= ROLE or (alone and _in_such_a_sentence(question, one, first, other, second)):
            return Conflict(kind, first.text, second.text)
    return None


def _versions(one: str, other: str) -> bool:
    """Whether two texts are mostly the same words."""
    here, there = terms(one), terms(other)
    return len(here & there) >= VERSIONS * len(here | there)


def _about(question: str, text: str, share: float = ABOUT) -> bool:
    asked = terms(question)
    return len(asked & terms(text)) >= share * len(asked)


def _in_such_a_sentence(question: str, one: str, a: Value, other: str, b: Value) -> bool:
    """Whether the sentences around the values are about the question themselves."""
    return all(
        _about(question, text[start:end], ABOUT_ALONE)
        for text, value in ((one, a), (other, b))
        for start, end in sentence_spans(text)
        if start <= value.start < end
    )


def _of_another_year(named: Sequence[Value], *said: Sequence[Value]) -> bool:
    """Whether the question names a date or number that one of the texts lacks."""
    wanted = [value for value in named if value.kind != "name"]
    return any(not any(same(each, value) for value in there) for each in wanted for there in said)


def _claims(named: Sequence[Value], text: str, said: Sequence[Value], kind: ValueKind) -> list[Value]:
    """The values of a kind, of those `said` in the text, that the question has not `named` itself; no names
    in brackets, and not the date that a page opens with."""
    known = [value for value in named if value.kind == kind]
    return [
        value
        for value in said
        if value.kind == kind
        and not any(_says_no_more(value, each) for each in known)
        and not (kind == "name" and text[: value.start].endswith("("))
        and not (kind == "date" and _BYLINE.match(text, value.end) and not text[: value.start].strip())
    ]


def _says_no_more(value: Value, known: Value) -> bool:
    """Whether a value of the text only repeats one of the question: "1973" does, "October 1973" does not."""
    if value.kind == "date":
        return all(part in (0, there) for part, there in zip(value.key, known.key, strict=True))
    return same(value, known)


def _said(value: Value, others: Sequence[Value], text: str) -> bool:
    return any(same(value, each) for each in others) or value.text.casefold() in text.casefold()


def _role(one: str, a: Value, other: str, b: Value) -> int:
    """Words in common right before and right after two values, an end of both texts counted as one; 0 where
    one of the sides has nothing in common."""
    before = _run(_words(one[: a.start])[::-1], _words(other[: b.start])[::-1])
    after = _run(_words(one[a.end :]), _words(other[b.end :]))
    return before + after if before and after else 0


def _words(text: str) -> list[str]:
    return ["", *(word.casefold() for word in _WORD.findall(text)), ""]


def _run(one: Sequence[str], other: Sequence[str]) -> int:
    """How many words two lists begin with in common; both being at their end counts as a word."""
    count = 0
    for a, b in zip(one[1:], other[1:], strict=False):
        if a != b:
            break
        count += 1
    return count
