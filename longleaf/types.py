"""What the service answers. Members that a newer service adds are left out."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict

Status = Literal["queued", "parsing", "chunking", "embedding", "ready", "failed", "cancelled"]
VersionStatus = Literal[
    "queued", "parsing", "chunking", "embedding", "ready", "failed", "cancelled", "superseded"
]
FINAL = frozenset({"ready", "failed", "cancelled", "superseded"})


class Model(BaseModel):
    """What all of them are: not to be changed, and open to members that are not known yet."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class DocumentError(Model):
    """Why a document could not be read."""

    code: str
    detail: str


class Ingest(Model):
    """A file that was sent, and how far its ingest is or came."""

    filename: str
    media_type: str
    bytes: int
    sha256: str
    error: DocumentError | None
    pages_done: int
    pages_total: int
    chunks_done: int
    chunks_total: int
    characters: int
    generation: int
    created_at: datetime
    updated_at: datetime


class Version(Ingest):
    """A file that a document was sent as, and how far its ingest is or came."""

    status: VersionStatus


class Document(Ingest):
    """A document and how far its ingest is."""

    id: str
    title: str
    collection: str
    status: Status
    metadata: dict[str, Any]
    updating: Version | None


class DocumentPage(Model):
    """Some documents, newest first, and the cursor of those after them."""

    documents: list[Document]
    next_cursor: str | None


class Versions(Model):
    """The versions of a document, newest first."""

    versions: list[Version]


class Chunk(Model):
    """A chunk: `text` is the document's text from `start_char_index` to `end_char_index`."""

    chunk_id: str
    ordinal: int
    start_char_index: int
    end_char_index: int
    page_number: int | None
    page_end: int | None
    headings: list[str]
    tokens: int
    text: str


class ChunkPage(Model):
    """Some chunks in the order of the text, and the cursor of those after them."""

    chunks: list[Chunk]
    next_cursor: int | None


class PageBox(Model):
    """A part of a page, as fractions of its width and height from the upper left corner."""

    left: float
    top: float
    right: float
    bottom: float


class PageBoxes(Model):
    """Where a passage stands on a page: a box for each of its lines; the page's size in its own units."""

    number: int
    width: int
    height: int
    boxes: list[PageBox]


class SearchResult(Model):
    """A chunk that fits a query, with its rank in both searches."""

    chunk_id: str
    document_id: str
    document_title: str
    filename: str
    page_number: int | None
    page_end: int | None
    start_char_index: int
    end_char_index: int
    headings: list[str]
    text: str
    score: float
    dense_rank: int | None
    dense_score: float | None
    lexical_rank: int | None
    lexical_score: float | None


class Partial(Model):
    """That a collection in so many shards could not be searched whole: those in `missing` did not answer."""

    shards: int
    missing: list[int]


class SearchResults(Model):
    """Chunks, best first: iterate over them, or take them by number. `partial` says what of a collection in
    shards was not searched."""

    results: list[SearchResult]
    partial: Partial | None = None

    def __iter__(self) -> Iterator[SearchResult]:  # type: ignore[override]
        return iter(self.results)

    def __len__(self) -> int:
        return len(self.results)

    def __getitem__(self, number: int) -> SearchResult:
        return self.results[number]


class Turn(Model):
    """A question of the conversation before, and the answer that was given."""

    question: str
    answer: str = ""


class Citation(Model):
    """A verbatim quote: `cited_text` is the document's text from `start_char_index` to `end_char_index`."""

    id: int
    document_id: str
    document_title: str
    filename: str
    page_number: int | None
    start_char_index: int
    end_char_index: int
    cited_text: str
    chunk_id: str
    score: float


class Receipt(Model):
    """What a citation is worth to an answer, in nats."""

    citation_id: int
    drop: float
    of: Literal["answer", "question"]


class Disagreement(Model):
    """Citations that give different values for what was asked."""

    citation_ids: list[int]
    values: list[str]
    kind: Literal["date", "number", "name"]


class SearchStep(Model):
    """One search that was made for a question."""

    query: str
    why: str
    found: int
    added: int
    milliseconds: float


class Usage(Model):
    """Tokens of the generator."""

    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    total_tokens: int
    receipt_tokens: int


class Evidence(Model):
    """Why a question was answered or not."""

    score: float
    threshold: float
    reason: str


class Answered(Model):
    """What an answer and a stored one have in common."""

    answer_id: str
    answer_kind: Literal["quotes", "prose", "sentence", "none"]
    answer_status: Literal["answered", "insufficient_evidence", "nothing_retrieved"]
    unsupported: list[str]
    language: str | None
    warnings: list[str]
    citations: list[Citation]
    receipts: list[Receipt]
    disagreements: list[Disagreement]
    searches: list[SearchStep]
    partial: Partial | None = None
    timings: dict[str, float | None]


class Answer(Answered):
    """An answer, its quotes, and what was read for it."""

    answer: str
    evidence: Evidence
    context: dict[str, Any]
    usage: Usage

    @property
    def answered(self) -> bool:
        """Whether the documents hold an answer."""
        return self.answer_status == "answered"


class Feedback(Model):
    """What somebody said of an answer: `wrong_citations` are numbers of its citations."""

    correct: bool
    comment: str | None
    wrong_citations: list[int]
    created_at: datetime
    updated_at: datetime


class GivenFeedback(Feedback):
    """The same, with what it is about, and the id of the key or user whose it is."""

    id: str
    answer_id: str
    question: str
    collection: str
    by: str


class FeedbackPage(Model):
    """Some feedback, newest first, and the cursor of that after it."""

    feedback: list[GivenFeedback]
    next_cursor: str | None


class StoredAnswer(Answered):
    """An answer that was given before, as far as its documents are still there."""

    created_at: datetime
    question: str
    collection: str | None
    withdrawn: bool
    answer: str | None
    evidence: Evidence | None
    usage: Usage | None
    model: str
    embedder: str
    feedback: Feedback | None = None


class Reembedding(Model):
    """Vectors of another embedding model that are being built beside those in use."""

    embedder: str
    chunks_done: int
    chunks_total: int


class Collection(Model):
    """A collection: documents that are searched together."""

    id: str
    name: str
    embedder: str
    documents: int
    documents_by_status: dict[str, int]
    max_context_tokens: int | None
    max_documents: int | None
    max_bytes: int | None
    reembedding: Reembedding | None
    created_at: datetime


class Collections(Model):
    """All collections."""

    collections: list[Collection]


class Ledger(Model):
    """Event of an answer under way: what will be read."""

    ledger: dict[str, Any]


class Quote(Model):
    """Event of an answer under way: a quote."""

    citation: Citation


class Progress(Model):
    """Event of an answer under way: tokens of the prompt that the model has read."""

    read: int
    total: int
    cached: int


class Delta(Model):
    """Event of an answer under way: the next part of its text."""

    text: str


Event: TypeAlias = Ledger | Quote | Progress | Delta | Receipt | Answer
"""What comes while a question is answered; the `Answer` is the last."""
