"""Documents, their chunks and pages."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field

from api.fields import Time
from api.schemas.base import Request

Status = Literal["queued", "parsing", "chunking", "embedding", "ready", "failed", "cancelled"]


class DocumentError(BaseModel):
    """Why a document could not be read."""

    code: str = Field(description="Stable code, e.g. `encrypted`, `no_text`, `corrupt`, `empty`, `timeout`.")
    detail: str = Field(description="The reason in a sentence.")


VersionStatus = Literal[
    "queued", "parsing", "chunking", "embedding", "ready", "failed", "cancelled", "superseded"
]


class DocumentVersion(BaseModel):
    """A file that a document was sent as, and how far its ingest is or came."""

    generation: int = Field(description="Counts the document's versions, from 1.")
    status: VersionStatus = Field(
        description="`ready` is the version that answers; a newer file took the place of a `superseded` one."
    )
    error: DocumentError | None = Field(description="Set when `status` is `failed`.")
    filename: str
    media_type: str
    bytes: int
    sha256: str
    pages_done: int
    pages_total: int
    chunks_done: int
    chunks_total: int
    characters: int
    created_at: Time
    updated_at: Time


class VersionList(BaseModel):
    """The versions of a document, newest first; the oldest are dropped beyond a hundred."""

    versions: list[DocumentVersion]


class DocumentChange(Request):
    """What is to change of a document; a member that is left out stays as it is."""

    metadata: dict[str, Any] = Field(
        default_factory=dict,
        description="Merged into the metadata (RFC 7396): null removes a member, objects are merged.",
        examples=[{"year": 2025, "draft": None}],
    )


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
    generation: int = Field(description="Version that answers; 0 before the first one is ready.")
    updating: DocumentVersion | None = Field(
        description="A newer version on its way while this one answers, or how that failed or was cancelled."
    )
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


class Replacement(Accepted):
    """What became of a new file for a document."""

    generation: int = Field(description="The version that this file is.")
    unchanged: bool = Field(description="Whether these are the bytes of the version that answers.")


class Update(BaseModel):
    """The document whose file was replaced, alone in a list as after an upload."""

    documents: list[Replacement]


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


class PageBox(BaseModel):
    """A part of a page, as fractions of its width and height from the upper left corner."""

    left: float = Field(ge=0, le=1)
    top: float = Field(ge=0, le=1)
    right: float = Field(ge=0, le=1)
    bottom: float = Field(ge=0, le=1)


class PageBoxes(BaseModel):
    """Where a passage stands on a page."""

    number: int = Field(description="The page, from 1.")
    width: int = Field(description="Of the page: points in a PDF, pixels in a picture.")
    height: int = Field(description="Of the page, likewise.")
    boxes: list[PageBox] = Field(description="One for each line of the passage, in its order.")
