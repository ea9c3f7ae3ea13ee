"""What became of one question: where its evidence was found, if it was read, what was quoted and said."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class QuoteOutcome:
    """One citation. `exact`: it is the stored text at its offsets; `page_right`: the page is the one that
    holds them; `evidence`: it touches the gold evidence; `holds`: it holds a gold answer."""

    text: str
    filename: str
    page: int | None
    start: int
    end: int
    exact: bool
    page_right: bool
    evidence: bool
    holds: bool


@dataclass(frozen=True)
class Outcome:
    """One question's way. Times in milliseconds; `ranks` count from 1 and are None for a place not found.

    `every`: each place of the evidence is needed. `located` is False where the question names no evidence
    that the documents hold; then nothing is said of retrieval. `error` says why there is no answer at all.
    """

    id: str
    question: str
    cluster: str
    language: str | None
    answerable: bool
    answers: tuple[str, ...]
    located: bool
    missing: tuple[str, ...] = ()
    every: bool = False
    ranks: tuple[int | None, ...] = ()
    found: int | None = None
    searches: tuple[str, ...] = ()
    ndcg: float = 0.0
    reciprocal: float = 0.0
    packed: bool = False
    packed_mode: str = ""
    packed_tokens: int = 0
    budget: int = 0
    prompt_tokens: int = 0
    written_tokens: int = 0
    answer: str = ""
    kind: str = "none"
    status: str = ""
    reason: str = ""
    score: float = 0.0
    threshold: float = 0.0
    holds_answer: bool = False
    quotes: tuple[QuoteOutcome, ...] = ()
    milliseconds: float = 0.0
    timings: Mapping[str, float | None] = field(default_factory=dict)
    error: str | None = None

    @property
    def answered(self) -> bool:
        """Whether an answer was given rather than a refusal."""
        return self.status == "answered"

    def as_dict(self) -> dict[str, Any]:
        """The outcome as a run file keeps it."""
        return asdict(self)

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Outcome:
        """The outcome of a run file. Raises TypeError, KeyError for what is none."""
        quotes = tuple(QuoteOutcome(**quote) for quote in value["quotes"])
        lists = {name: tuple(value[name]) for name in ("answers", "missing", "ranks", "searches")}
        return cls(**{**value, **lists, "quotes": quotes})
