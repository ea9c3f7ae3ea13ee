"""Packing: which passages the generator reads, in exact token ids, with a ledger of kept and dropped.

Everything here is a pure function of passages, a tokenizer and a budget. A segment is encoded once, opening
line, text and closing line apart, and its ids are spliced into the prompt as they are; the cost of a pack is
therefore the sum of its segments' lengths, exactly. Measurements: docs/decisions/0303-packing.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from rag.duplicates import Seen
from rag.framing import Frame
from rag.passages import (
    Dropped,
    Mode,
    Pack,
    Passage,
    Reason,
    Segment,
    Spans,
    Tokenizer,
    encode_passage,
    merge,
    shorten,
    touching,
)

__all__ = [
    "Dropped",
    "Mode",
    "Pack",
    "Passage",
    "Reason",
    "Segment",
    "Spans",
    "Tokenizer",
    "cut_to_fit",
    "encode_passage",
    "leading",
    "pack_exactly",
    "pack_retrieved",
    "pack_whole",
    "reading_order",
    "touching",
]

ALONE = 1024
"""Tokens of the budget that go to the candidates alone."""
NEIGHBOURS_EVERY = 1200
"""Tokens of the rest for each candidate that is read with its neighbours."""


_MISSES = 3
"""Further passages in a row that do not fit before no more are tried: encoding them is what packing costs."""


def leading(budget: int) -> int:
    """How many of the best candidates are read with what stands before and after them."""
    return max(0, budget - ALONE) // NEIGHBOURS_EVERY


def pack_whole(
    documents: Sequence[Passage], tokenizer: Tokenizer, frame: Frame, budget: int, fewest: int = 0
) -> Pack | None:
    """All documents in full, in the order given, or None when they take more than `budget` tokens.

    The caller's order is kept, so that one corpus gives one prompt prefix whatever is asked (prefix caching).
    """
    segments: list[Segment] = []
    left = budget
    ranks = {id(p): n for n, p in enumerate(sorted(documents, key=lambda p: -p.score), start=1)}
    for passage in documents:
        ids = encode_passage(passage, tokenizer, frame)
        left -= len(ids)
        if left < fewest:
            return None
        segments.append(Segment(passage, ids, ranks[id(passage)]))
    return Pack("whole_corpus", budget, tuple(segments))


def pack_retrieved(
    candidates: Iterable[Passage],
    tokenizer: Tokenizer,
    frame: Frame,
    budget: int,
    sentences: Spans,
    *,
    neighbours: Mapping[int, Sequence[Passage]] | None = None,
    further: Sequence[Passage] = (),
) -> Pack:
    """The best candidates that fit, merged where they touch, ordered for reading.

    Candidates are taken greedily by worth per token (`_worth`), the best one always first; one that does not
    fit is dropped and smaller ones are still tried. If even the best does not fit, it is cut after the last
    sentence (`sentences`: spans of a text) that does. After the first `leading(budget)` candidates come their
    `neighbours`, by chunk id; then the other candidates; then `further` passages, in order of preference,
    while there is room. A near-duplicate of something already taken is dropped.
    """
    ranked = sorted(candidates, key=lambda p: (-p.score, p.document_id, p.start, p.end, p.chunk_ids))
    builder = _Builder(tokenizer, frame, budget)
    dropped: list[Dropped] = []
    if ranked and not builder.take(ranked[0], 1):
        short = cut_to_fit(ranked[0], tokenizer, frame, budget, sentences)
        if short is not None:
            builder.take(short, 1, cut=True)
        else:
            dropped.append(_over_budget(ranked[0], 1, builder))
    rest = [(rank, p) for rank, p in enumerate(ranked, start=1) if rank > 1]
    rest.sort(key=lambda item: -_worth(item[0]) / max(1, builder.cost_alone(item[1])))
    best = leading(budget)
    early, late = rest[: max(0, best - 1)], rest[max(0, best - 1) :]
    dropped += _take_all(builder, early)
    kept = {chunk for segment in builder.segments() for chunk in segment.passage.chunk_ids}
    candidate = {passage.chunk_ids: rank for rank, passage in enumerate(ranked, start=1)}
    for passage in ranked[:best]:
        if kept.issuperset(passage.chunk_ids):
            beside = _beside(passage, neighbours or {})
            builder.take_around(
                passage, [(candidate.get(each.chunk_ids, len(ranked) + 1), each) for each in beside]
            )
    dropped += _take_all(builder, late)
    misses = 0
    for passage in further:
        misses = 0 if builder.take_new(passage, len(ranked) + 1) else misses + 1
        if misses == _MISSES:
            break
    dropped.sort(key=lambda d: -d.passage.score)
    return Pack("retrieved", budget, tuple(reading_order(builder.segments())), tuple(dropped))


def _beside(passage: Passage, neighbours: Mapping[int, Sequence[Passage]]) -> list[Passage]:
    return [each for chunk in passage.chunk_ids for each in neighbours.get(chunk, ())]


def _take_all(builder: _Builder, ranked: Sequence[tuple[int, Passage]]) -> list[Dropped]:
    """Take what fits and is new; the others with their reasons."""
    dropped = []
    for rank, passage in ranked:
        if builder.holds(passage):
            continue
        twin = builder.twin_of(passage)
        if twin is not None:
            said = f"says the same as {_place(twin)}"
            cost = builder.cost_alone(passage)
            dropped.append(Dropped(passage, "near_duplicate", said, rank, cost))
        elif not builder.take(passage, rank):
            dropped.append(_over_budget(passage, rank, builder))
    return dropped


def pack_exactly(
    passages: Sequence[Passage], tokenizer: Tokenizer, frame: Frame, budget: int, sentences: Spans
) -> Pack:
    """These passages and nothing else, best first while they fit: for the windows around chosen quotes."""
    pack = pack_retrieved(passages, tokenizer, frame, budget, sentences)
    return replace(pack, dropped=tuple(d for d in pack.dropped if d.reason == "over_budget"))


def reading_order(segments: Sequence[Segment]) -> list[Segment]:
    """Source order inside a document; documents by their best segment, the best one last, nearest the
    question.

    Models use what stands at the ends of a long prompt best (Liu et al. 2023, "Lost in the Middle").
    """
    best: dict[str, int] = {}
    for segment in segments:
        key = segment.passage.document_id
        best[key] = min(best.get(key, segment.rank), segment.rank)
    return sorted(
        segments,
        key=lambda s: (-best[s.passage.document_id], s.passage.document_id, s.passage.start),
    )


def cut_to_fit(
    passage: Passage, tokenizer: Tokenizer, frame: Frame, budget: int, sentences: Spans
) -> Passage | None:
    """The longest beginning of `passage` that fits `budget`, ended at a sentence; inside the first sentence
    only when not even that one fits; None when nothing does."""
    ends = [end for _, end in sentences(passage.text) if end > 0]
    fitting = _longest(passage, ends, tokenizer, frame, budget)
    if fitting is None:
        first = ends[0] if ends else len(passage.text)
        fitting = _longest(passage, list(range(1, first + 1)), tokenizer, frame, budget)
    return fitting


def _longest(
    passage: Passage, ends: list[int], tokenizer: Tokenizer, frame: Frame, budget: int
) -> Passage | None:
    # Tokens grow with the text almost, not quite, monotonically: the bisection finds a good end, and whatever
    # it finds was measured to fit.
    found: Passage | None = None
    low, high = 0, len(ends) - 1
    while low <= high:
        middle = (low + high) // 2
        short = shorten(passage, ends[middle])
        if len(encode_passage(short, tokenizer, frame)) <= budget:
            found, low = short, middle + 1
        else:
            high = middle - 1
    return found


class _Builder:
    """The pack being built: disjoint, non-touching segments and their exact cost."""

    def __init__(self, tokenizer: Tokenizer, frame: Frame, budget: int) -> None:
        self._tokenizer = tokenizer
        self._frame = frame
        self._taken: list[Segment] = []
        self._alone: dict[tuple[str, int, int, int, str], tuple[int, ...]] = {}
        self._seen = Seen()
        self.budget = budget

    @property
    def left(self) -> int:
        return self.budget - sum(segment.tokens for segment in self._taken)

    def cost_alone(self, passage: Passage) -> int:
        """Tokens of the passage as a segment of its own."""
        return len(self._ids(passage))

    def _ids(self, passage: Passage) -> tuple[int, ...]:
        key = (passage.document_id, passage.generation, passage.start, passage.end, passage.title)
        if key not in self._alone:
            self._alone[key] = encode_passage(passage, self._tokenizer, self._frame)
        return self._alone[key]

    def take(self, passage: Passage, rank: int, *, cut: bool = False) -> bool:
        """Add the passage, merged with what it touches, if the pack then still fits."""
        union, swallowed = passage, list[Segment]()
        for segment in self._taken:
            if touching(passage, segment.passage):
                union = merge(union, segment.passage)
                swallowed.append(segment)
        ids = self._ids(union)
        if len(ids) - sum(s.tokens for s in swallowed) > self.left:
            return False
        ranks = [rank, *(s.rank for s in swallowed)]
        kept = [segment for segment in self._taken if segment not in swallowed]
        self._taken = [*kept, Segment(union, ids, min(ranks), cut)]
        self._seen.add(passage)
        return True

    def take_around(self, passage: Passage, beside: Sequence[tuple[int, Passage]]) -> None:
        """Add what stands beside a passage that is taken: all of it at once if it fits, else what does."""
        new = [(rank, each) for rank, each in beside if not self.holds(each) and self.twin_of(each) is None]
        union = passage
        for _, each in new:
            union = merge(union, each) if touching(union, each) else union
        if len(new) > 1 and self.take(union, min(rank for rank, _ in new)):
            return
        for rank, each in new:
            self.take(each, rank)

    def take_new(self, passage: Passage, rank: int) -> bool:
        """Add the passage if it fits and nothing taken says the same; whether it is there now."""
        if self.holds(passage):
            return True
        return self.twin_of(passage) is None and self.take(passage, rank)

    def holds(self, passage: Passage) -> bool:
        """Whether the passage's chunks are in the pack already."""
        chunks = set(passage.chunk_ids)
        return bool(chunks) and any(chunks.issubset(s.passage.chunk_ids) for s in self._taken)

    def twin_of(self, passage: Passage) -> Passage | None:
        return self._seen.twin_of(passage)

    def segments(self) -> list[Segment]:
        return list(self._taken)


def _worth(rank: int) -> float:
    # The chance that the evidence is in the chunk of this rank falls steeply with the rank; the fused score
    # itself is nearly flat and would let short chunks win by their length alone.
    return 1.0 / rank**2


def _over_budget(passage: Passage, rank: int, builder: _Builder) -> Dropped:
    cost = builder.cost_alone(passage)
    said = f"needs {cost} tokens, {max(0, builder.left)} of {builder.budget} left"
    return Dropped(passage, "over_budget", said, rank, cost)


def _place(passage: Passage) -> str:
    return f"{passage.document_id} [{passage.start}, {passage.end})"
