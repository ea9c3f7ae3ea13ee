"""Answers that were given before."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from api.fields import Time
from api.schemas.feedback import Feedback
from api.schemas.questions import (
    Citation,
    Disagreement,
    EvidenceVerdict,
    QueryResponse,
    Receipt,
    SearchStep,
    Usage,
)
from api.schemas.searches import Partial


class StoredAnswer(BaseModel):
    """An answer that was given before, as far as its documents are still there."""

    answer_id: str = Field(examples=["ans_01kv9m3e5c7x2n8q4t6w0z1y3b"])
    created_at: Time
    question: str
    collection: str | None = Field(description="Null once the collection is deleted.")
    withdrawn: bool = Field(
        description="Whether its words are gone because a document that was read was deleted or read anew."
    )
    answer: str | None = Field(description="Null once withdrawn.")
    answer_kind: Literal["quotes", "prose", "sentence", "none"]
    answer_status: Literal["answered", "insufficient_evidence", "nothing_retrieved"]
    unsupported: list[str]
    language: str | None
    warnings: list[str]
    citations: list[Citation] = Field(description="Those whose text still stands where it stood.")
    receipts: list[Receipt]
    disagreements: list[Disagreement]
    searches: list[SearchStep]
    partial: Partial | None = Field(description="Which shards of the collection were not searched then.")
    evidence: EvidenceVerdict | None
    usage: Usage | None
    timings: dict[str, float | None]
    model: str = Field(description="Fingerprint of the generator.")
    embedder: str = Field(description="Fingerprint of the embedding model.")
    feedback: Feedback | None = Field(description="What oneself has said of it; null for nothing.")


class Change(BaseModel):
    """One thing that is not as it was; further members say which, and what was `before` and is `after`."""

    model_config = ConfigDict(
        extra="allow",
        json_schema_extra={
            "examples": [{"what": "document_deleted", "document_id": "doc_01kv9m3e5c7x2n8q4t6w0z1y3b"}]
        },
    )

    what: Literal[
        "document_deleted",
        "document_updated",
        "document_published",
        "passage_text",
        "collection_deleted",
        "model",
        "embedder",
        "release",
        "budget",
        "searches",
        "ranking",
        "segments",
        "dropped",
        "citations",
        "status",
        "kind",
        "evidence",
        "language",
        "warnings",
        "disagreements",
        "answer",
        "body",
        "withdrawn",
        "refused",
        "format",
    ]


class Replayed(BaseModel):
    """What is different when a stored question is answered again."""

    answer_id: str
    changed: list[Change] = Field(description="Causes first, then where the answer's way, or it, differs.")
    before: StoredAnswer
    now: QueryResponse | None = Field(description="The answer as it is now; null where there can be none.")
