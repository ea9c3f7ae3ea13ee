"""Packing: which passages the generator reads, in exact token ids, with a ledger of kept and dropped.

Everything here is a pure function of passages, a tokenizer and a budget. A segment is encoded once, opening
line, text and closing line apart, and its ids are spliced into the prompt as they are; the cost of a pack is
therefore the sum of its segments' lengths, exactly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol

from rag.framing import Frame

Spans = Callable[[str], Sequence[tuple[int, int]]]
Reason = Literal["over_budget", "near_duplicate", "not_quoted"]
Mode = Literal["whole_corpus", "retrieved"]


class Tokenizer(Protocol):
    """The generator's tokenizer: text to ids, no special token ever among them."""

    def encode(self, text: str, /) -> list[int]: ...


@dataclass(frozen=True)
class Passage:
    """A range of one document's text that may be read: `[start, end)` in code points, and `text` itself.

    `score` orders passages (higher is better) and is comparable only within one call; `generation` tells
    apart two texts of one document. `chunk_ids` names the chunks it is made of.
    """

    document_id: str
    generation: int
    title: str
    start: int
    end: int
    text: str
    score: float
    chunk_ids: tuple[int, ...] = ()
    page_start: int | None = None
    page_end: int | None = None

    def __post_init__(self) -> None:
        if len(self.text) != self.end - self.start:
            raise ValueError(f"text of {len(self.text)} code points for the range [{self.start}, {self.end})")


@dataclass(frozen=True)
class Segment:
    """A passage in the pack. `ids` are its tokens with the lines around it; `rank` is 1 for the best; `cut`
    says that the end was left out to fit the budget."""

    passage: Passage
    ids: tuple[int, ...]
    rank: int
    cut: bool = False

    @property
    def tokens(self) -> int:
        """Tokens that the segment takes in the prompt."""
        return len(self.ids)


@dataclass(frozen=True)
class Dropped:
    """A candidate that is not read, and why; `detail` is a sentence with the numbers."""

    passage: Passage
    reason: Reason
    detail: str


@dataclass(frozen=True)
class Pack:
    """What is read, in prompt order, and what is not. `tokens <= budget` always."""

    mode: Mode
    budget: int
    segments: tuple[Segment, ...] = ()
    dropped: tuple[Dropped, ...] = ()

    @property
    def ids(self) -> list[int]:
        """The segments' ids, one after the other: what is spliced into the prompt."""
        return [token for segment in self.segments for token in segment.ids]

    @property
    def tokens(self) -> int:
        """Tokens of all segments together."""
        return sum(segment.tokens for segment in self.segments)


def encode_passage(passage: Passage, tokenizer: Tokenizer, frame: Frame) -> tuple[int, ...]:
    """Ids of opening line, text and closing line, each encoded for itself."""
    opening = tokenizer.encode(frame.opening(passage.title))
    return (*opening, *tokenizer.encode(passage.text), *tokenizer.encode(frame.closing))


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
    neighbours: Sequence[Passage] = (),
) -> Pack:
    """The best candidates that fit, merged where they touch, ordered for reading.

    Candidates are taken greedily by worth per token (`_worth`), the best one always first; one that does not
    fit is dropped and smaller ones are still tried. If even the best does not fit, it is cut after the last
    sentence (`sentences`: spans of a text) that does. `neighbours`, in order of preference, fill what is left
    of the budget. A near-duplicate of something already taken is dropped.
    """
    ranked = sorted(candidates, key=lambda p: (-p.score, p.document_id, p.start, p.end, p.chunk_ids))
    builder = _Builder(tokenizer, frame, budget)
    dropped: list[Dropped] = []
    if ranked and not builder.take(ranked[0], 1):
        short = cut_to_fit(ranked[0], tokenizer, frame, budget, sentences)
        if short is not None:
            builder.take(short, 1, cut=True)
        else:
            dropped.append(_over_budget(ranked[0], builder))
    rest = [(rank, p) for rank, p in enumerate(ranked, start=1) if rank > 1]
    rest.sort(key=lambda item: -_worth(item[0]) / max(1, builder.cost_alone(item[1])))
    for rank, passage in rest:
        twin = builder.twin_of(passage)
        if twin is not None:
            dropped.append(Dropped(passage, "near_duplicate", f"says the same as {_place(twin)}"))
        elif not builder.take(passage, rank):
            dropped.append(_over_budget(passage, builder))
    for passage in neighbours:
        if builder.twin_of(passage) is None:
            builder.take(passage, len(ranked) + 1)
    dropped.sort(key=lambda d: -d.passage.score)
    return Pack("retrieved", budget, tuple(reading_order(builder.segments())), tuple(dropped))


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


def shorten(passage: Passage, end: int) -> Passage:
    """The first `end` code points of `passage`."""
    return replace(passage, end=passage.start + end, text=passage.text[:end])


def touching(a: Passage, b: Passage) -> bool:
    """Whether two passages of one text overlap or stand side by side."""
    same = a.document_id == b.document_id and a.generation == b.generation
    return same and a.start <= b.end and b.start <= a.end


def merge(a: Passage, b: Passage) -> Passage:
    """The union of two touching passages, with the better score."""
    first, second = (a, b) if (a.start, -a.end) <= (b.start, -b.end) else (b, a)
    text = first.text + second.text[max(0, first.end - second.start) :]
    pages = [p for p in (a.page_start, b.page_start, a.page_end, b.page_end) if p is not None]
    return replace(
        first,
        end=max(first.end, second.end),
        text=text,
        score=max(a.score, b.score),
        chunk_ids=tuple(dict.fromkeys((*first.chunk_ids, *second.chunk_ids))),
        page_start=min(pages, default=None),
        page_end=max(pages, default=None),
    )


class _Builder:
    """The pack being built: disjoint, non-touching segments and their exact cost."""

    def __init__(self, tokenizer: Tokenizer, frame: Frame, budget: int) -> None:
        self._tokenizer = tokenizer
        self._frame = frame
        self._taken: list[Segment] = []
        self._alone: dict[tuple[str, int, int, int], int] = {}
        self._shingles: list[tuple[Passage, frozenset[int]]] = []
        self.budget = budget

    @property
    def left(self) -> int:
        return self.budget - sum(segment.tokens for segment in self._taken)

    def cost_alone(self, passage: Passage) -> int:
        key = (passage.document_id, passage.generation, passage.start, passage.end)
        if key not in self._alone:
            self._alone[key] = len(encode_passage(passage, self._tokenizer, self._frame))
        return self._alone[key]

    def take(self, passage: Passage, rank: int, *, cut: bool = False) -> bool:
        """Add the passage, merged with what it touches, if the pack then still fits."""
        union, swallowed = passage, list[Segment]()
        for segment in self._taken:
            if touching(passage, segment.passage):
                union = merge(union, segment.passage)
                swallowed.append(segment)
        ids = encode_passage(union, self._tokenizer, self._frame)
        if len(ids) - sum(s.tokens for s in swallowed) > self.left:
            return False
        ranks = [rank, *(s.rank for s in swallowed)]
        kept = [segment for segment in self._taken if segment not in swallowed]
        self._taken = [*kept, Segment(union, ids, min(ranks), cut)]
        self._shingles.append((passage, shingles(passage.text)))
        return True

    def twin_of(self, passage: Passage) -> Passage | None:
        """What was taken already and says the same elsewhere; overlaps of one text are merged, not twins."""
        mine = shingles(passage.text)
        for other, theirs in self._shingles:
            if not touching(passage, other) and containment(mine, theirs) >= NEAR_DUPLICATE:
                return other
        return None

    def segments(self) -> list[Segment]:
        return list(self._taken)


NEAR_DUPLICATE = 0.85
"""Share of a passage's shingles found in another passage from which the two count as the same."""

_SHINGLE = 8


def shingles(text: str) -> frozenset[int]:
    """Hashes of all runs of 8 characters, case and white space folded: works in scripts without spaces.

    The hash is Python's own of a string and differs between processes: it is for comparing, not for storing.
    """
    folded = " ".join(text.casefold().split())
    return frozenset(hash(folded[i : i + _SHINGLE]) for i in range(max(1, len(folded) - _SHINGLE + 1)))


def containment(part: frozenset[int], whole: frozenset[int]) -> float:
    """Share of `part` that is in `whole` (Broder 1997)."""
    return len(part & whole) / len(part) if part else 0.0


def _worth(rank: int) -> float:
    # The chance that the evidence is in the chunk of this rank falls steeply with the rank; the fused score
    # itself is nearly flat and would let short chunks win by their length alone.
    return 1.0 / rank**2


def _over_budget(passage: Passage, builder: _Builder) -> Dropped:
    cost = builder.cost_alone(passage)
    return Dropped(
        passage, "over_budget", f"needs {cost} tokens, {max(0, builder.left)} of {builder.budget} left"
    )


def _place(passage: Passage) -> str:
    return f"{passage.document_id} [{passage.start}, {passage.end})"
