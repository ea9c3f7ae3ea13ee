"""A question and its answer."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from api.fields import MAX_SEED, Question, id_pattern
from api.schemas.base import Request
from api.schemas.searches import Partial, Scoped


class Turn(Request):
    """A question of the conversation before, and the answer that was given."""

    question: Question
    answer: str = Field(default="", max_length=20_000, json_schema_extra={"pattern": r"^[^\x00]*$"})

    @field_validator("answer")
    @classmethod
    def _plain(cls, value: str) -> str:
        if "\0" in value:
            raise ValueError("text is needed, without NUL characters")
        return value


class QueryRequest(Scoped):
    """A question about documents."""

    model_config = ConfigDict(
        json_schema_extra={
            "oneOf": [{"required": ["question"]}, {"required": ["query"]}],
            "examples": [{"question": "How long is the notice period?", "collection": "contracts"}],
        }
    )

    question: Question = Field(default="", validate_default=False, description="What is asked.")
    query: Question = Field(default="", validate_default=False, description="Another name of `question`.")
    top_k: int = Field(default=20, ge=1, le=200, description="Most chunks that are considered.")
    max_context_tokens: int | None = Field(
        default=None,
        ge=64,
        le=2**31 - 1,
        description="Most tokens of documents that are read; by default the collection's or the setting's.",
    )
    max_tokens: int | None = Field(
        default=None, ge=1, le=8192, description="Longest answer in tokens; by default the setting's."
    )
    temperature: float = Field(
        default=0.0, ge=0, le=2, allow_inf_nan=False, description="0 is deterministic."
    )
    seed: int = Field(default=0, ge=0, le=MAX_SEED, description="Seed of the sampling.")
    mode: Literal["auto", "quotes", "answer", "prose"] | None = Field(
        default=None,
        description="`quotes`: quotes alone; `answer` (of old `prose`): let the model write, each sentence "
        "with the quote that supports it; `auto`: if the model is able to; by default the setting's.",
    )
    unsupported: Literal["remove", "mark"] = Field(
        default="remove",
        description="What becomes of a written sentence that no quote supports: it is left out, or shown "
        "with `[?]` after it and listed in the answer's `unsupported`.",
    )
    history: list[Turn] = Field(
        default=[],
        max_length=20,
        description="The conversation before, oldest turn first: a question that leans on it is made whole.",
    )
    conversation_id: str | None = Field(
        default=None,
        pattern=id_pattern("cnv"),
        description="The conversation that it is asked in: what was said there goes along instead of "
        "`history`, and the answer is kept there.",
    )
    steps: int | None = Field(
        default=None,
        ge=1,
        le=4,
        description="Most searches for this question; by default as many as its form asks for, up to 4.",
    )
    receipts: bool = Field(
        default=False, description="Say what each citation is worth; the model reads them once more for it."
    )
    stream: bool = Field(
        default=False, description="Answer with server-sent events; so does `Accept: text/event-stream`."
    )

    @model_validator(mode="after")
    def _one_question(self) -> Self:
        if self.question and self.query and self.question != self.query:
            raise ValueError("question and query are two names of one thing, and they differ: send one")
        if self.history and self.conversation_id is not None:
            raise ValueError("history is that of the conversation where conversation_id is given: send one")
        return self


class Citation(BaseModel):
    """A verbatim quote: `cited_text` is the document's text from `start_char_index` to `end_char_index`."""

    id: int = Field(description="Number in the answer, from 1.")
    document_id: str
    document_title: str
    filename: str
    page_number: int | None = Field(description="From 1; null for formats without pages.")
    start_char_index: int
    end_char_index: int
    cited_text: str
    chunk_id: str
    score: float


class Receipt(BaseModel):
    """What a citation is worth to an answer."""

    citation_id: int
    drop: float = Field(
        description="Nats by which the log-probability falls when the model reads the citations without this "
        "one; negative where it rises.",
        examples=[14.2],
    )
    of: Literal["answer", "question"] = Field(
        description="Whose log-probability: that of the answer's words or, where the answer is nothing but "
        "quotes, that of the question's."
    )


class Disagreement(BaseModel):
    """Citations that give different values for what was asked."""

    citation_ids: list[int]
    values: list[str] = Field(description="What each of them says, as it stands there.")
    kind: Literal["date", "number", "name"]


class SearchStep(BaseModel):
    """One search that was made for a question."""

    query: str
    why: Literal["question", "follow_up", "part", "next_place"] = Field(
        description="The question itself; made whole from the conversation; one of several things that it "
        "asks for; what the passages found so far point to."
    )
    found: int = Field(description="Chunks that it found.")
    added: int = Field(description="Chunks that only it brought.")
    milliseconds: float


class Usage(BaseModel):
    """Tokens of the generator."""

    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    total_tokens: int
    receipt_tokens: int = Field(description="Read for the receipts alone; not among the others.")


class EvidenceVerdict(BaseModel):
    """Why a question was answered or not."""

    score: float = Field(ge=0, le=1, description="How much what was found looks like an answer.")
    threshold: float = Field(ge=0, le=1, description="The score from which on a question is answered.")
    reason: Literal[
        "supported", "no_passages", "low_similarity", "terms_missing", "not_stated", "quotes_gone"
    ]


class QueryResponse(BaseModel):
    """An answer, its quotes, and what was read for it."""

    answer_id: str
    answer: str = Field(description="Prose with `[n]` marks, the quotes, or why there is no answer.")
    answer_kind: Literal["quotes", "prose", "sentence", "none"] = Field(
        description="What `answer` is: `prose` by the model, each sentence with a quote; the best quoted "
        "`sentence`, where nothing that the model wrote had support; the `quotes` alone; `none`: refused."
    )
    answer_status: Literal["answered", "insufficient_evidence", "nothing_retrieved"]
    unsupported: list[str] = Field(
        description="Sentences of `answer` that no quote supports, which are marked `[?]` there."
    )
    language: str | None = Field(
        description="Language of the question (ISO 639-1), in which the service's own sentences and, as far "
        "as it is able to, the model's come; null where it can't be told. Quotes stay as they are.",
        examples=["en"],
    )
    warnings: list[str] = Field(
        description="What to know before the answer is used: the model was not made for the language."
    )
    citations: list[Citation]
    receipts: list[Receipt] = Field(description="One for each citation, where they were asked for.")
    disagreements: list[Disagreement] = Field(
        description="Citations that contradict each other; `answer` says so too."
    )
    searches: list[SearchStep] = Field(description="The searches that were made, in their order.")
    partial: Partial | None = Field(
        description="Which shards of the collection were not searched; null where all of it was."
    )
    evidence: EvidenceVerdict
    context: dict[str, Any] = Field(
        description="`mode`, `tokens`, `budget`, `segments` read, candidates `dropped`."
    )
    usage: Usage
    timings: dict[str, float | None] = Field(description="Milliseconds of each step.")
