"""The tables, typed: one schema for SQLite and PostgreSQL.

The database is the truth. Text, pages and chunks belong to a *generation* of a document: a new generation is
written beside the live one and becomes visible by one update of `documents.generation`.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    DateTime,
    Dialect,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Text,
    TypeDecorator,
    UniqueConstraint,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

DEFAULT_WORKSPACE = "ws_default"

TEXT_SEGMENT = 16_384
"""Code points in one row of `texts`: a quote from a long book reads one or two rows, never the whole book."""


class Utc(TypeDecorator[datetime]):
    """An aware UTC time on both databases; SQLite keeps no zone, so a naive time is refused on the way in."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"time {value!r} has no zone; times in the store are UTC")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


# SQLite numbers rows itself only in a column declared exactly INTEGER.
BigKey = BigInteger().with_variant(Integer, "sqlite")
Json = JSON().with_variant(JSONB, "postgresql")


class Base(DeclarativeBase):
    """Every table; constraint names are fixed so that migrations can name them on both databases."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {datetime: Utc, dict[str, Any]: Json, list[str]: Json, str: Text}  # noqa: RUF012


class StoreState(Base):
    """One row: who this store is, and the number of the last change.

    `change_seq` is raised inside the transaction that publishes or deletes. Its row lock is held until
    commit, so commits happen in the order of their numbers and no reader ever sees a gap filled in later.
    """

    __tablename__ = "store_state"
    __table_args__ = (CheckConstraint("id = 1", name="one_row"),)

    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    identity: Mapped[str] = mapped_column(String(40))
    change_seq: Mapped[int] = mapped_column(BigInteger)


class Workspace(Base):
    """A tenant: whatever hangs below it is invisible to every other.

    Its limits: NULL is what the settings say, 0 is none.
    """

    __tablename__ = "workspaces"
    __table_args__ = (Index(None, "name", unique=True),)

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    name: Mapped[str]
    created_at: Mapped[datetime]
    requests_per_minute: Mapped[int | None] = mapped_column(Integer)
    tokens_per_minute: Mapped[int | None] = mapped_column(Integer)
    max_documents: Mapped[int | None] = mapped_column(Integer)
    max_bytes: Mapped[int | None] = mapped_column(BigInteger)


class Collection(Base):
    """Documents that are searched together, bound to one embedder by its fingerprint.

    While vectors of another one are being built beside, `next_embedder` is its fingerprint.
    """

    __tablename__ = "collections"
    __table_args__ = (UniqueConstraint("workspace_id", "name"),)

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    workspace_id: Mapped[str] = mapped_column(ForeignKey("workspaces.id"))
    name: Mapped[str] = mapped_column(String(200))
    embedder: Mapped[str]
    next_embedder: Mapped[str | None]
    max_context_tokens: Mapped[int | None] = mapped_column(Integer)
    max_documents: Mapped[int | None] = mapped_column(BigInteger)
    max_bytes: Mapped[int | None] = mapped_column(BigInteger)
    created_at: Mapped[datetime]


class Document(Base):
    """One uploaded file; `generation` is the live one, 0 while there is none."""

    __tablename__ = "documents"
    __table_args__ = (
        UniqueConstraint("collection_id", "sha256"),
        Index(None, "workspace_id", "id"),
        Index(None, "collection_id", "id"),
    )

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    workspace_id: Mapped[str] = mapped_column(ForeignKey("workspaces.id"))
    collection_id: Mapped[str] = mapped_column(ForeignKey("collections.id"))
    title: Mapped[str]
    filename: Mapped[str]
    media_type: Mapped[str]
    sha256: Mapped[str] = mapped_column(String(64))
    bytes: Mapped[int] = mapped_column(BigInteger)
    meta: Mapped[dict[str, Any]] = mapped_column("metadata")
    status: Mapped[str] = mapped_column(String(20))
    error_code: Mapped[str | None] = mapped_column(String(60))
    error_detail: Mapped[str | None]
    generation: Mapped[int] = mapped_column(Integer)
    pages_done: Mapped[int] = mapped_column(Integer)
    pages_total: Mapped[int] = mapped_column(Integer)
    chunks_done: Mapped[int] = mapped_column(Integer)
    chunks_total: Mapped[int] = mapped_column(Integer)
    characters: Mapped[int] = mapped_column(BigInteger)
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]


class Version(Base):
    """What was sent as one generation of a document, and how far its ingest is; kept when its text is gone.

    A generation above the document's is on its way, or ended as failed or cancelled. One that a newer file
    replaced, before or after it was live, is `superseded`.
    """

    __tablename__ = "versions"
    __table_args__ = (Index(None, "sha256"),)

    document_id: Mapped[str] = mapped_column(ForeignKey("documents.id", ondelete="CASCADE"), primary_key=True)
    generation: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    sha256: Mapped[str] = mapped_column(String(64))
    bytes: Mapped[int] = mapped_column(BigInteger)
    filename: Mapped[str]
    media_type: Mapped[str]
    title: Mapped[str]
    status: Mapped[str] = mapped_column(String(20))
    error_code: Mapped[str | None] = mapped_column(String(60))
    error_detail: Mapped[str | None]
    pages_done: Mapped[int] = mapped_column(Integer)
    pages_total: Mapped[int] = mapped_column(Integer)
    chunks_done: Mapped[int] = mapped_column(Integer)
    chunks_total: Mapped[int] = mapped_column(Integer)
    characters: Mapped[int] = mapped_column(BigInteger)
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]


class SyncedFile(Base):
    """The document that stands for a file of a mirrored folder, and the file as it was when it was read."""

    __tablename__ = "synced_files"
    __table_args__ = (Index(None, "document_id"),)

    collection_id: Mapped[str] = mapped_column(
        ForeignKey("collections.id", ondelete="CASCADE"), primary_key=True
    )
    root: Mapped[str] = mapped_column(primary_key=True)
    path: Mapped[str] = mapped_column(primary_key=True)
    document_id: Mapped[str] = mapped_column(ForeignKey("documents.id", ondelete="CASCADE"))
    sha256: Mapped[str] = mapped_column(String(64))
    bytes: Mapped[int] = mapped_column(BigInteger)
    mtime_ns: Mapped[int] = mapped_column(BigInteger)


class TextSegment(Base):
    """`TEXT_SEGMENT` code points of the canonical text of a generation, from `start` on."""

    __tablename__ = "texts"

    document_id: Mapped[str] = mapped_column(ForeignKey("documents.id", ondelete="CASCADE"), primary_key=True)
    generation: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    start: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    text: Mapped[str]


class Page(Base):
    """A page as a range of code points of the canonical text; `number` counts from 1."""

    __tablename__ = "pages"

    document_id: Mapped[str] = mapped_column(ForeignKey("documents.id", ondelete="CASCADE"), primary_key=True)
    generation: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    number: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    start: Mapped[int] = mapped_column(BigInteger)
    end: Mapped[int] = mapped_column(BigInteger)


class Chunk(Base):
    """A chunk as a range of code points; `vector` is float16[dimension], NULL until embedded.

    `digest` is the SHA-256 of the text that the vector is made from, NULL in rows of older versions.

    Keys are never given out twice: an index that still holds a deleted chunk's key can't hit another.
    """

    __tablename__ = "chunks"
    __table_args__ = (
        UniqueConstraint("document_id", "generation", "ordinal"),
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(BigKey, primary_key=True)
    document_id: Mapped[str] = mapped_column(ForeignKey("documents.id", ondelete="CASCADE"))
    collection_id: Mapped[str] = mapped_column(String(40))
    generation: Mapped[int] = mapped_column(Integer)
    ordinal: Mapped[int] = mapped_column(Integer)
    start: Mapped[int] = mapped_column(BigInteger)
    end: Mapped[int] = mapped_column(BigInteger)
    page_start: Mapped[int | None] = mapped_column(Integer)
    page_end: Mapped[int | None] = mapped_column(Integer)
    headings: Mapped[list[str]]
    tokens: Mapped[int] = mapped_column(Integer)
    digest: Mapped[bytes | None] = mapped_column(LargeBinary)
    vector: Mapped[bytes | None] = mapped_column(LargeBinary)


class NextVector(Base):
    """A chunk's vector float16[dimension] by the embedder that its collection is about to have."""

    __tablename__ = "next_vectors"
    __table_args__ = (Index(None, "collection_id"),)

    chunk_id: Mapped[int] = mapped_column(
        BigKey, ForeignKey("chunks.id", ondelete="CASCADE"), primary_key=True, autoincrement=False
    )
    collection_id: Mapped[str] = mapped_column(String(40))
    embedder: Mapped[str]
    vector: Mapped[bytes] = mapped_column(LargeBinary)


class Change(Base):
    """The log that derived indexes follow: ids only, so nothing of a deleted document stays here."""

    __tablename__ = "changes"
    __table_args__ = (Index(None, "collection_id", "seq"),)

    seq: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    collection_id: Mapped[str] = mapped_column(String(40))
    document_id: Mapped[str] = mapped_column(String(40))
    generation: Mapped[int] = mapped_column(Integer)
    kind: Mapped[str] = mapped_column(String(10))
    created_at: Mapped[datetime]


class IngestJob(Base):
    """The work of bringing one generation of a document in; its states are those of `ingest.jobs`.

    A smaller `priority` goes first. `waits` counts the times in a row that it was put off for trouble of the
    machine, which are no attempts.
    """

    __tablename__ = "ingest_jobs"
    __table_args__ = (
        Index(None, "status", "id"),
        Index(None, "status", "priority", "id"),
        Index(None, "document_id"),
    )

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    document_id: Mapped[str] = mapped_column(ForeignKey("documents.id", ondelete="CASCADE"))
    generation: Mapped[int] = mapped_column(Integer)
    status: Mapped[str] = mapped_column(String(20))
    priority: Mapped[int] = mapped_column(Integer)
    attempts: Mapped[int] = mapped_column(Integer)
    waits: Mapped[int] = mapped_column(Integer)
    lease_owner: Mapped[str | None] = mapped_column(String(100))
    lease_until: Mapped[datetime | None]
    not_before: Mapped[datetime]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]


class Answer(Base):
    """How an answer came about (ids, offsets, seed, fingerprints), without a word of any document.

    `words` is what may hold some, as JSON text; it goes when one of the answer's sources goes.
    """

    __tablename__ = "answers"
    __table_args__ = (Index(None, "workspace_id", "id"),)

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    workspace_id: Mapped[str] = mapped_column(ForeignKey("workspaces.id"))
    created_at: Mapped[datetime]
    question: Mapped[str]
    recipe: Mapped[dict[str, Any]]
    words: Mapped[str | None]


class AnswerSource(Base):
    """What an answer's words may come from: a generation of a document or, with generation 0, any document of
    a collection."""

    __tablename__ = "answer_sources"
    __table_args__ = (Index(None, "source_id"),)

    answer_id: Mapped[str] = mapped_column(ForeignKey("answers.id", ondelete="CASCADE"), primary_key=True)
    source_id: Mapped[str] = mapped_column(String(40), primary_key=True)
    generation: Mapped[int] = mapped_column(Integer)
