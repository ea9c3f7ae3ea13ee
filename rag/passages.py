"""Passages: a range of a document's text on its way to the model, and the ledger of which were read.

What the `reason` of a dropped candidate means: `over_budget`, there was no room for it; `near_duplicate`,
something that is read says the same, and it has no figure or name of its own; `not_quoted`, it was searched
for quotes and held none, so that a small model did not read it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
    """A candidate that is not read, and why; `detail` says it with the numbers. `rank` is its place among the
    candidates, 1 for the best, and `tokens` what it would have taken."""

    passage: Passage
    reason: Reason
    detail: str
    rank: int | None = None
    tokens: int | None = None


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
