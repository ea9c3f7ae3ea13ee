"""Finding: all the searches of one question, in their order, within bounds, and the list that comes of them.

The first search is the question's own and keeps its order. Further searches add places, and never replace
any: the parts of a question that holds several (`rag.parts`), the statements that hold the figures asked for
(`rag.statements`), and what the best passages name and the question does not, since the second place of a
question is often named in the first (Trivedi et al. 2023, "Interleaving Retrieval with Chain-of-Thought
Reasoning"; here without a model). When each is tried, and when not: docs/decisions/0304-several-places.md.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass, field, replace
from typing import Literal, Protocol

from model import Engine
from rag.follow_up import Turn, stand_alone
from rag.index.hits import Partial
from rag.names import cased, names
from rag.parts import parts
from rag.retrieval import Candidate, Looked, SearchScope
from rag.statements import asked_statements
from rag.terms import coverage, rarity, terms

__all__ = ["Finder", "Found", "SearchStep", "Turn"]

STEPS = 4
"""Searches of one question at most."""
SECONDS = 2.0
"""Time after which no further search is begun."""
FIRST = 3
"""Candidates of the question's own search that stand before any other."""
ADDED = 6
"""New places that one further search may add."""
DEEPER = 3
"""Times `top_k` that the first search looks, for passages that fill a large budget."""
_APART = 3
"""Documents among the first four candidates from which on the question's places may lie apart."""
_SAID = 0.5
"""Share of the question's terms, by weight, from which on the best candidate is taken to hold all of it."""
_NAMED = 12
_EXCERPT = 400

Why = Literal["question", "follow_up", "part", "next_place"]


class Search(Protocol):
    """The part of `rag.retrieval.Retriever` that is needed here."""

    def look(self, question: str, scope: SearchScope, top_k: int = 10) -> Looked: ...


@dataclass(frozen=True)
class SearchStep:
    """One search: its query, its reason, how many chunks it found and how many of them were new."""

    query: str
    why: Why
    found: int
    added: int
    milliseconds: float


@dataclass(frozen=True)
class Found:
    """What all searches came to.

    `candidates`, best first, scores falling: the question's own `top_k` and what the further searches added.
    `further` are the next best of the first search, which fill what is left of a large budget. `question` is
    the question as it was searched: made whole from the conversation where it leaned on it. `partial` says
    which parts of the collection one of the searches did not reach.
    """

    candidates: list[Candidate]
    searches: tuple[SearchStep, ...]
    question: str
    further: list[Candidate] = field(default_factory=list)
    partial: Partial | None = None

    @property
    def several(self) -> bool:
        """Whether the answer was looked for in several places."""
        return any(step.why in ("part", "next_place") for step in self.searches)


class Finder:
    """Searches for all places of a question; threads may share it."""

    def __init__(self, retriever: Search, engine: Callable[[], Engine] | None = None) -> None:
        self._retriever = retriever
        self._engine = engine

    def find(
        self,
        question: str,
        scope: SearchScope,
        top_k: int,
        *,
        history: Sequence[Turn] = (),
        steps: int | None = None,
    ) -> Found:
        """Search for `question`, and further where that is likely to help.

        `steps` bounds the searches, from 1 (the question alone) to 4; given, it also asks for the next
        place where the rule would not. None leaves it to the rules. Raises as `Retriever.look`.
        """
        asked = self._whole(question, history)
        trail = _Trail(self._retriever, scope, STEPS if steps is None else min(steps, STEPS))
        own = trail.search(asked, "question" if asked == question.strip() else "follow_up", top_k * DEEPER)
        first = own[:top_k]
        if not first:
            return Found([], tuple(trail.steps), asked, partial=trail.partial)
        for part in parts(asked):
            trail.add(part, "part", scope, top_k)
        leading = replace(scope, document_ids=_leading(first))
        for description in asked_statements(asked, _MOST_STATEMENTS):
            trail.add(description, "next_place", leading, top_k)
        if steps is not None or (_apart(first) and not _said(asked, first)):
            for query in next_queries(asked, first):
                trail.add(query, "next_place", scope, top_k)
        merged, added = merge(own, top_k, trail.lists)
        searches = [replace(step, added=new) for step, new in zip(trail.steps, [0, *added], strict=True)]
        taken = {candidate.chunk_id for candidate in merged}
        further = [candidate for candidate in own[top_k:] if candidate.chunk_id not in taken]
        return Found(merged, tuple(searches), asked, further, trail.partial)

    def _whole(self, question: str, history: Sequence[Turn]) -> str:
        if not history:
            return question.strip()
        return stand_alone(question, history, self._engine() if self._engine else None)


_MOST_STATEMENTS = 2


class _Trail:
    """The searches of one question and what each brought."""

    def __init__(self, retriever: Search, scope: SearchScope, most: int) -> None:
        self._retriever = retriever
        self._scope = scope
        self._most = most
        self._began = time.perf_counter()
        self.steps: list[SearchStep] = []
        self.lists: list[list[Candidate]] = []
        self.partial: Partial | None = None

    def search(self, query: str, why: Why, top_k: int, scope: SearchScope | None = None) -> list[Candidate]:
        began = time.perf_counter()
        looked = self._retriever.look(query, scope or self._scope, top_k)
        found = looked.candidates
        if looked.partial is not None:
            missing = {*looked.partial.missing, *(self.partial.missing if self.partial else ())}
            self.partial = Partial(looked.partial.shards, tuple(sorted(missing)))
        took = round((time.perf_counter() - began) * 1000, 2)
        self.steps.append(SearchStep(query, why, len(found), 0, took))
        return found

    def add(self, query: str, why: Why, scope: SearchScope, top_k: int) -> None:
        """One search more, where steps and time are left."""
        if len(self.steps) < self._most and time.perf_counter() - self._began < SECONDS:
            self.lists.append(self.search(query, why, top_k, scope))


def merge(
    own: Sequence[Candidate], top_k: int, lists: Sequence[Sequence[Candidate]]
) -> tuple[list[Candidate], list[int]]:
    """One list of `own[:top_k]` and up to six of each further list, and how many of each were new to it.

    The first three of the question's own stay first; then all lists take turns. A chunk that the question's
    own search knows keeps the scores that it has there. For another, cosine and share are at most the least
    of those, as they belong to another query and say nothing of this one. `score` falls through the list.
    """
    known = {candidate.chunk_id: candidate for candidate in own}
    weakest = min((candidate.dense_score for candidate in own), default=0.0)
    base = {candidate.chunk_id for candidate in own[:top_k]}
    order = list(own[: min(FIRST, top_k)])
    seen = {candidate.chunk_id for candidate in order}
    queues = [list(own[FIRST:top_k]), *(list(brought[:ADDED]) for brought in lists)]
    added = [0] * len(queues)
    while any(queues):
        for number, queue in enumerate(queues):
            while queue and queue[0].chunk_id in seen:
                queue.pop(0)
            if not queue:
                continue
            candidate = queue.pop(0)
            seen.add(candidate.chunk_id)
            added[number] += candidate.chunk_id not in base
            order.append(known.get(candidate.chunk_id) or _foreign(candidate, weakest))
    return _falling(order, base), added[1:]


def _foreign(candidate: Candidate, weakest: float) -> Candidate:
    dense = min(candidate.dense_score, weakest)
    return replace(candidate, dense_score=dense, dense_rank=None, lexical_rank=None, lexical_score=0.0)


def _falling(order: Sequence[Candidate], base: Set[int]) -> list[Candidate]:
    """The same order with scores that fall, for the packer sorts by score: those of `base` are kept, another
    stands just below the one before it."""
    out: list[Candidate] = []
    for candidate in order:
        below = math.nextafter(out[-1].score, -math.inf) if out else candidate.score
        kept = candidate.chunk_id in base and candidate.score <= below
        out.append(candidate if kept else replace(candidate, score=below))
    return out


def next_queries(question: str, first: Sequence[Candidate]) -> list[str]:
    """Queries for what the two best passages name and the question does not; in scripts without capitals
    the passage itself stands for its names."""
    queries = []
    for candidate in first[:2]:
        seen = question.casefold()
        new = [
            name
            for name, _ in names(candidate.text)
            if len(name) >= _LONG_NAME and name.casefold() not in seen
        ]
        said = ", ".join(list(dict.fromkeys(new))[:_NAMED]) if cased(candidate.text) else ""
        queries.append(f"{question} {said or ' '.join(candidate.text.split())[:_EXCERPT]}")
    return queries


_LONG_NAME = 4


def _apart(first: Sequence[Candidate]) -> bool:
    """Whether the best candidates come from several documents: where one document has them all, so it has the
    answer."""
    return len({candidate.document_id for candidate in first[:4]}) >= _APART


def _said(question: str, first: Sequence[Candidate]) -> bool:
    """Whether the best candidate has most of what the question says: then there is no gap to bridge."""
    asked = terms(question)
    texts = [terms(f"{candidate.document_title} {candidate.text}") for candidate in first]
    return coverage(rarity(asked, texts), texts[0]) >= _SAID


def _leading(first: Sequence[Candidate]) -> frozenset[str]:
    """The documents that the question is about: the best candidate's, and those with three of the first
    ten."""
    counts = Counter(candidate.document_id for candidate in first[:10])
    return frozenset({first[0].document_id, *(name for name, count in counts.items() if count >= _SEVERAL)})


_SEVERAL = 3
