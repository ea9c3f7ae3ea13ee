"""Requests and answers of the HTTP API, as they are validated and documented."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from api.fields import MAX_SEED, CollectionName, Filters, Question, Time

Status = Literal["queued", "parsing", "chunking", "embedding", "ready", "failed", "cancelled"]
DocumentIds = Annotated[
    list[Annotated[str, Field(min_length=1, max_length=60)]],
    Field(
        min_length=1,
        max_length=1000,
        description="Read these documents alone. Without `collection` they may be of any, but all of one.",
    ),
]


class Request(BaseModel):
    """A request's body: a member that is not known, or of another type, is an error, so that a slip of the
    pen is noticed."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True, strict=True)


class Problem(BaseModel):
    """An error (RFC 9457). `code` is stable and meant for programs; some codes bring further members."""

    model_config = ConfigDict(
        extra="allow",
        json_schema_extra={
            "examples": [
                {
                    "type": "urn:longleaf:problem:document_not_found",
                    "title": "Document not found",
                    "status": 404,
                    "detail": "There is no document 'doc_01kv9m3e5c7x2n8q4t6w0z1y3b'.",
                    "code": "document_not_found",
                    "instance": "/documents/doc_01kv9m3e5c7x2n8q4t6w0z1y3b",
                }
            ]
        },
    )

    type: str = Field(description="URN that names the kind of problem.")
    title: str = Field(description="The kind of problem in a few words.")
    status: int = Field(description="The HTTP status again.")
    detail: str = Field(description="What was wrong, with which value, and what to do.")
    code: str = Field(description="Stable code, in snake_case.")
    instance: str = Field(description="Path of the request.")


class DocumentError(BaseModel):
    """Why a document could not be read."""

    code: str = Field(description="Stable code, e.g. `encrypted`, `no_text`, `corrupt`, `empty`, `timeout`.")
    detail: str = Field(description="The reason in a sentence.")


class Document(BaseModel):
    """A document and how far its ingest is."""

    id: str = Field(examples=["doc_01kv9m3e5c7x2n8q4t6w0z1y3b"])
    filename: str
    title: str
    collection: str
    media_type: str = Field(description="By content, not by name; known once the document is being read.")
    bytes: int
    sha256: str = Field(description="Of the original bytes, in hexadecimal.")
    status: Status
    error: DocumentError | None = Field(description="Set when `status` is `failed`.")
    pages_done: int
    pages_total: int
    chunks_done: int
    chunks_total: int
    characters: int = Field(description="Length of the text in Unicode code points.")
    metadata: dict[str, Any]
    created_at: Time
    updated_at: Time


class DocumentList(BaseModel):
    """A page of documents, newest first."""

    documents: list[Document]
    next_cursor: str | None = Field(description="Give it as `cursor` for the next page; null on the last.")


class Accepted(BaseModel):
    """A document that was taken in and waits to be read."""

    id: str
    filename: str
    status: Status
    job_id: str = Field(description="Identifier of the ingest job.")


class Upload(BaseModel):
    """The documents of an upload, in the order of its files."""

    documents: list[Accepted]


class Chunk(BaseModel):
    """A chunk: `text` is the document's text from `start_char_index` to `end_char_index`."""

    chunk_id: str = Field(examples=["chk_42"])
    ordinal: int = Field(description="Place among the document's chunks, from 0.")
    start_char_index: int
    end_char_index: int
    page_number: int | None = Field(description="First page, from 1; null for formats without pages.")
    page_end: int | None = Field(description="Last page.")
    headings: list[str] = Field(description="Headings above the chunk, outermost first.")
    tokens: int = Field(description="Length in tokens of the embedding model.")
    text: str


class ChunkList(BaseModel):
    """A page of chunks in the order of the text."""

    chunks: list[Chunk]
    next_cursor: int | None = Field(description="Give it as `cursor` for the next page; null on the last.")


class PageText(BaseModel):
    """One page of a document."""

    number: int = Field(description="From 1.")
    start_char_index: int
    end_char_index: int
    text: str


class NewCollection(Request):
    """A collection to be made."""

    name: CollectionName


Budget = Annotated[int, Field(ge=64, le=2**31 - 1)]


class CollectionChange(Request):
    """What is to change of a collection; a member that is left out stays as it is."""

    max_context_tokens: Budget | None = Field(
        default=None, description="Most tokens of documents that are read; null leaves it to the setting."
    )


class Collection(BaseModel):
    """A collection: documents that are searched together, with vectors of one embedding model."""

    id: str
    name: str
    embedder: str = Field(description="Fingerprint of the embedding model.")
    documents: int
    documents_by_status: dict[str, int]
    max_context_tokens: int | None = Field(
        description="Most tokens of documents that are read for an answer; null where the setting holds."
    )
    created_at: Time


class CollectionList(BaseModel):
    """All collections, by name."""

    collections: list[Collection]


class _Scoped(Request):
    collection: CollectionName | None = Field(
        default=None,
        description='Collection to read; "default" where neither it nor `document_ids` is given.',
    )
    document_ids: DocumentIds | None = None
    filters: Filters | None = None


class SearchRequest(_Scoped):
    """What to search for, and where."""

    query: Question = Field(description="Words or a question.")
    top_k: int = Field(default=10, ge=1, le=100, description="Most results.")


class SearchResult(BaseModel):
    """A chunk that fits the query: its place, its text, and how each of the two searches ranked it."""

    chunk_id: str
    document_id: str
    document_title: str
    filename: str
    page_number: int | None = Field(description="First page, from 1; null for formats without pages.")
    page_end: int | None
    start_char_index: int
    end_char_index: int
    headings: list[str]
    text: str
    score: float = Field(description="Fused score; comparable within one search only.")
    dense_rank: int | None = Field(description="Rank by meaning, from 1; null if that search missed it.")
    dense_score: float | None
    lexical_rank: int | None = Field(
        description="Rank by words (BM25), from 1; null if that search missed it."
    )
    lexical_score: float | None


class SearchResponse(BaseModel):
    """Chunks, best first."""

    results: list[SearchResult]


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


class QueryRequest(_Scoped):
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
    reason: Literal["supported", "no_passages", "low_similarity", "terms_missing", "quotes_gone"]


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
    evidence: EvidenceVerdict
    context: dict[str, Any] = Field(
        description="`mode`, `tokens`, `budget`, `segments` read, candidates `dropped`."
    )
    usage: Usage
    timings: dict[str, float | None] = Field(description="Milliseconds of each step.")


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
    evidence: EvidenceVerdict | None
    usage: Usage | None
    timings: dict[str, float | None]
    model: str = Field(description="Fingerprint of the generator.")
    embedder: str = Field(description="Fingerprint of the embedding model.")


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


class Health(BaseModel):
    """The process answers."""

    status: Literal["ok"] = "ok"


class Readiness(BaseModel):
    """Which parts are ready: `ok`, or the reason why not."""

    ready: bool
    checks: dict[str, str] = Field(
        examples=[{"database": "ok", "schema": "ok", "embedder": "ok", "engine": "loading", "worker": "ok"}]
    )


class Version(BaseModel):
    """Versions of the service and its models."""

    name: Literal["longleaf"] = "longleaf"
    version: str
    schema_revision: str = Field(description="Database schema that this version needs.")
    model: str | None = Field(description="Fingerprint of the generator; null until it is loaded.")
    embedder: str | None = Field(description="Fingerprint of the embedding model; null until it is loaded.")
