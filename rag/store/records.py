"""What the repositories hand out: frozen rows that outlive their session."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Status = Literal["queued", "parsing", "chunking", "embedding", "ready", "failed", "cancelled"]
STATUSES: tuple[Status, ...] = (
    "queued",
    "parsing",
    "chunking",
    "embedding",
    "ready",
    "failed",
    "cancelled",
)
FINAL_STATUSES: frozenset[Status] = frozenset({"ready", "failed", "cancelled"})

VersionStatus = Literal[
    "queued", "parsing", "chunking", "embedding", "ready", "failed", "cancelled", "superseded"
]
"""`ready` is the live version; a newer file took the place of one that is `superseded`."""

Half = NDArray[np.float16]


@dataclass(frozen=True, slots=True)
class CollectionRow:
    """A collection; `embedder` is the fingerprint of the model that its vectors come from."""

    id: str
    workspace_id: str
    name: str
    embedder: str
    created_at: datetime
    max_context_tokens: int | None = None
    """Most tokens of documents that an answer reads; None leaves it to the settings."""
    max_documents: int | None = None
    max_bytes: int | None = None
    """Most documents, and most bytes of their originals; None for no limit."""
    next_embedder: str | None = None
    """Fingerprint of the embedder whose vectors are being built beside, None without one."""


@dataclass(frozen=True, slots=True)
class VersionRow:
    """One file that a document was sent as, and how far its ingest is or came."""

    document_id: str
    generation: int
    sha256: str
    bytes: int
    filename: str
    media_type: str
    title: str
    """What its chunks are embedded with; the document may be shown with another."""
    status: VersionStatus
    error_code: str | None
    error_detail: str | None
    pages_done: int
    pages_total: int
    chunks_done: int
    chunks_total: int
    characters: int
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class DocumentRow:
    """A document and how far its ingest is; `collection` is the collection's name."""

    id: str
    workspace_id: str
    collection_id: str
    collection: str
    title: str
    filename: str
    media_type: str
    sha256: str
    bytes: int
    meta: dict[str, Any]
    status: Status
    error_code: str | None
    error_detail: str | None
    generation: int
    pages_done: int
    pages_total: int
    chunks_done: int
    chunks_total: int
    characters: int
    created_at: datetime
    updated_at: datetime
    updating: VersionRow | None = None
    """The newer version that is on its way while this one answers, or how that ended."""


@dataclass(frozen=True, slots=True)
class SyncedRow:
    """A file of a mirrored folder as it was when it was read, and the document that stands for it."""

    path: str
    document_id: str
    sha256: str
    bytes: int
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class PageRow:
    """Page `number` (from 1) is `text[start:end]` of its document, in code points."""

    number: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class ChunkRow:
    """A chunk of one generation: `text[start:end]`, pages `page_start` to `page_end` (None without pages)."""

    id: int
    document_id: str
    generation: int
    ordinal: int
    start: int
    end: int
    page_start: int | None
    page_end: int | None
    headings: tuple[str, ...]
    tokens: int
    vector: Half | None
    """float16[dimension]; None where it was not asked for or is not computed yet."""


@dataclass(frozen=True, slots=True)
class LiveChunk:
    """A chunk of a live generation together with what is shown of its document."""

    id: int
    document_id: str
    collection_id: str
    generation: int
    ordinal: int
    start: int
    end: int
    page_start: int | None
    page_end: int | None
    headings: tuple[str, ...]
    tokens: int
    document_title: str
    filename: str
    media_type: str
    meta: dict[str, Any]


@dataclass(frozen=True, slots=True)
class ChunkDraft:
    """A chunk about to be written."""

    ordinal: int
    start: int
    end: int
    page_start: int | None
    page_end: int | None
    headings: tuple[str, ...]
    tokens: int
    digest: bytes | None = None
    """SHA-256 of the text that is embedded for it."""


@dataclass(frozen=True, slots=True)
class JobRow:
    """An ingest job; its states are those of `ingest.jobs`."""

    id: str
    document_id: str
    generation: int
    status: str
    attempts: int
    lease_owner: str | None
    lease_until: datetime | None
    not_before: datetime
    created_at: datetime
    updated_at: datetime
    priority: int = 0
    waits: int = 0


@dataclass(frozen=True, slots=True)
class ChangeRow:
    """One entry of the log: `generation` of the document became live, or the document was deleted; `reembed`
    names no document: the vectors of the whole collection are others."""

    seq: int
    collection_id: str
    document_id: str
    generation: int
    kind: Literal["publish", "delete", "reembed"]
    created_at: datetime


@dataclass(frozen=True, slots=True)
class AnswerRow:
    """How an answer came about: enough to make it again while its documents exist. `words` is None once one
    of its sources is gone."""

    id: str
    created_at: datetime
    question: str
    recipe: dict[str, Any]
    words: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class ConversationRow:
    """A conversation of `turns` questions about a collection; `owner` is the id of a key or user."""

    id: str
    collection_id: str
    collection: str
    owner: str
    title: str
    created_at: datetime
    updated_at: datetime
    shared_at: datetime | None
    turns: int


@dataclass(frozen=True, slots=True)
class FeedbackRow:
    """What `owner` (the id of a key or user) says of an answer to a question about a collection."""

    id: str
    answer_id: str
    question: str
    collection: str
    owner: str
    correct: bool
    comment: str | None
    wrong_citations: tuple[int, ...]
    created_at: datetime
    updated_at: datetime
