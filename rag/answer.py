"""An answer and the steps on the way to it, as every door of the service shows them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, TypeAlias

from rag.citations import Citation
from rag.disagreement import Disagreement
from rag.finding import SearchStep, Turn
from rag.index.hits import Partial
from rag.packing import Pack
from rag.receipts import Receipt
from rag.refusal import Verdict
from rag.retrieval import SearchScope

AnswerMode = Literal["auto", "quotes", "answer"]
AnswerKind = Literal["quotes", "prose", "sentence", "none"]
Unsupported = Literal["remove", "mark"]
AnswerStatus = Literal["answered", "insufficient_evidence", "nothing_retrieved"]


@dataclass(frozen=True)
class AnswerRequest:
    """A question and where to look.

    `top_k` chunks are considered; at most `max_context_tokens` tokens of documents are read (None: the
    setting); `mode` is `quotes` for quotes alone, `answer` to let the model write, `auto` for what the model
    is able to; `unsupported` says what becomes of a written sentence that no quote supports; `receipts` asks
    for what each citation is worth. `filters` are those of the scope as they were given, to be kept.
    `history` are the turns before, oldest first; `steps` bounds the searches (None: by the rules).
    """

    question: str
    scope: SearchScope
    top_k: int = 20
    max_context_tokens: int | None = None
    max_tokens: int = 256
    temperature: float = 0.0
    seed: int = 0
    mode: AnswerMode = "auto"
    unsupported: Unsupported = "remove"
    receipts: bool = False
    filters: Mapping[str, Any] | None = None
    history: tuple[Turn, ...] = ()
    steps: int | None = None


@dataclass(frozen=True)
class Context:
    """The ledger of what is read for an answer: `pack.tokens` of documents and `skeleton_tokens` around them.

    In answers of quotes alone no model reads, and `skeleton_tokens` is what a prompt would have taken.
    `closest` are the best passages where the answer was refused.
    """

    pack: Pack
    skeleton_tokens: int
    closest: tuple[Citation, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """As the API shows it: places and numbers, texts only of what is closest."""
        return {
            "mode": self.pack.mode,
            "tokens": self.pack.tokens,
            "budget": self.pack.budget,
            "skeleton_tokens": self.skeleton_tokens,
            "segments": [
                {
                    "document_id": s.passage.document_id,
                    "document_title": s.passage.title,
                    "start_char_index": s.passage.start,
                    "end_char_index": s.passage.end,
                    "page_number": s.passage.page_start,
                    "page_end": s.passage.page_end,
                    "tokens": s.tokens,
                    "rank": s.rank,
                    "score": round(s.passage.score, 6),
                    "cut": s.cut,
                    "chunk_ids": [f"chk_{chunk}" for chunk in s.passage.chunk_ids],
                }
                for s in self.pack.segments
            ],
            "dropped": [
                {
                    "document_id": d.passage.document_id,
                    "document_title": d.passage.title,
                    "start_char_index": d.passage.start,
                    "end_char_index": d.passage.end,
                    "page_number": d.passage.page_start,
                    "page_end": d.passage.page_end,
                    "tokens": d.tokens,
                    "rank": d.rank,
                    "score": round(d.passage.score, 6),
                    "chunk_ids": [f"chk_{chunk}" for chunk in d.passage.chunk_ids],
                    "reason": d.reason,
                    "detail": d.detail,
                }
                for d in self.pack.dropped
            ],
            "closest": [citation.as_dict() for citation in self.closest],
        }


@dataclass(frozen=True)
class Usage:
    """Tokens that the generator read and wrote; all 0 where it did not run. `receipt_tokens` were read for
    the receipts alone, and are not among the others."""

    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    receipt_tokens: int = 0

    def as_dict(self) -> dict[str, int]:
        """As the API shows it."""
        return {
            "prompt_tokens": self.prompt_tokens,
            "cached_tokens": self.cached_tokens,
            "completion_tokens": self.completion_tokens,
            "total_tokens": self.prompt_tokens + self.completion_tokens,
            "receipt_tokens": self.receipt_tokens,
        }


@dataclass(frozen=True)
class Basis:
    """What an answer was made from: the ids of the chunks found, best first, and the generation of each
    document that was looked into for quotes."""

    ranking: tuple[int, ...] = ()
    sources: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Answer:
    """What `POST /query` returns.

    `answer_kind`: `prose` was written by the model, each sentence with its quote, and after the best quoted
    sentence where the model is small; `sentence` is that one alone, where nothing else that was written had
    support; `quotes` are the quotes and nothing else; `none` refuses. `unsupported` are the sentences of
    `answer` that no quote supports, as they are marked there.
    `basis` is kept and not shown. `language` is the question's, by ISO 639-1, None where it can't be told.
    `timings` are milliseconds by step, None for a step that was not taken. `partial` says which parts of the
    collection could not be searched, None where all of it was.
    """

    answer_id: str
    answer: str
    answer_kind: AnswerKind
    answer_status: AnswerStatus
    citations: Sequence[Citation]
    context: Context
    evidence: Verdict
    usage: Usage = field(default_factory=Usage)
    timings: Mapping[str, float | None] = field(default_factory=dict)
    unsupported: tuple[str, ...] = ()
    language: str | None = None
    warnings: tuple[str, ...] = ()
    receipts: tuple[Receipt, ...] = ()
    disagreements: tuple[Disagreement, ...] = ()
    searches: tuple[SearchStep, ...] = ()
    basis: Basis = field(default_factory=Basis)
    partial: Partial | None = None

    def as_dict(self) -> dict[str, Any]:
        """As the API shows it."""
        return {
            "answer_id": self.answer_id,
            "answer": self.answer,
            "answer_kind": self.answer_kind,
            "answer_status": self.answer_status,
            "unsupported": list(self.unsupported),
            "language": self.language,
            "warnings": list(self.warnings),
            "citations": [citation.as_dict() for citation in self.citations],
            "receipts": [receipt.as_dict() for receipt in self.receipts],
            "disagreements": [each.as_dict() for each in self.disagreements],
            "searches": [asdict(search) for search in self.searches],
            "partial": None if self.partial is None else self.partial.as_dict(),
            "evidence": self.evidence.as_dict(),
            "context": self.context.as_dict(),
            "usage": self.usage.as_dict(),
            "timings": dict(self.timings),
        }


@dataclass(frozen=True)
class ContextEvent:
    """What is going to be read."""

    context: Context


@dataclass(frozen=True)
class ProgressEvent:
    """Tokens read of `total`, `cached` of them known from before."""

    read: int
    total: int
    cached: int


@dataclass(frozen=True)
class CitationEvent:
    """A quote, checked against the stored text."""

    citation: Citation


@dataclass(frozen=True)
class DeltaEvent:
    """The next piece of the answer's text."""

    text: str


@dataclass(frozen=True)
class ReceiptEvent:
    """What a citation is worth to the answer that was given."""

    receipt: Receipt


@dataclass(frozen=True)
class DoneEvent:
    """The whole answer; always the last event."""

    answer: Answer


AnswerEvent: TypeAlias = ContextEvent | ProgressEvent | CitationEvent | DeltaEvent | ReceiptEvent | DoneEvent
