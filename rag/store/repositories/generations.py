"""Writing a generation of a document: text, pages, chunks, vectors, and the moment it becomes live."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any, cast

import numpy as np
from sqlalchemy import CursorResult, Table, delete, func, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from rag.errors import Conflict, NotFound
from rag.store.bulk import ROWS, add_rows, set_bytes
from rag.store.records import ChunkDraft, ChunkRow, Half, PageRow
from rag.store.repositories.answers import withdraw
from rag.store.repositories.changes import Changes
from rag.store.repositories.chunks import chunk_record
from rag.store.repositories.collections import Collections
from rag.store.repositories.texts import read_slices
from rag.store.scope import Repository, Scope, utc_now
from rag.store.tables import TEXT_SEGMENT, Chunk, Document, Page, TextSegment, Version

_SEGMENTS = 64
"""Segments of text in one statement: some megabytes."""
_VECTORS = 500


class Generations(Repository):
    """Generations of the documents of one workspace. The caller holds the document's lock (`ingest.jobs`), so
    that whose a document is need be asked once."""

    def __init__(self, session: Session, scope: Scope) -> None:
        super().__init__(session, scope)
        self._known: dict[str, str] = {}

    def write_text(self, document_id: str, generation: int, text: str) -> None:
        """Store the canonical text. Raises NotFound; ValueError for text that a database can't hold."""
        self._guard(document_id)
        if "\0" in text:
            raise ValueError("canonical text holds NUL, which PostgreSQL can't store; the parser replaces it")
        rows = (
            {
                "document_id": document_id,
                "generation": generation,
                "start": start,
                "text": text[start : start + TEXT_SEGMENT],
            }
            for start in range(0, len(text), TEXT_SEGMENT)
        )
        while batch := list(islice(rows, _SEGMENTS)):
            add_rows(self._session, _TEXTS, batch)

    def write_pages(self, document_id: str, generation: int, pages: Iterable[PageRow]) -> None:
        """Store page ranges. Raises NotFound."""
        self._guard(document_id)
        rows = (
            {
                "document_id": document_id,
                "generation": generation,
                "number": page.number,
                "start": page.start,
                "end": page.end,
            }
            for page in pages
        )
        while batch := list(islice(rows, ROWS)):
            add_rows(self._session, _PAGES, batch)

    def write_chunks(self, document_id: str, generation: int, chunks: Iterable[ChunkDraft]) -> int:
        """Store chunks without vectors; returns how many. Raises NotFound."""
        collection_id = self._guard(document_id)
        rows = (
            {
                "document_id": document_id,
                "collection_id": collection_id,
                "generation": generation,
                "ordinal": chunk.ordinal,
                "start": chunk.start,
                "end": chunk.end,
                "page_start": chunk.page_start,
                "page_end": chunk.page_end,
                "headings": list(chunk.headings),
                "tokens": chunk.tokens,
                "digest": chunk.digest,
            }
            for chunk in chunks
        )
        written = 0
        while batch := list(islice(rows, ROWS)):
            add_rows(self._session, _CHUNKS, batch)
            written += len(batch)
        return written

    def progress(self, document_id: str, generation: int) -> tuple[int, int]:
        """Chunks with a vector, and chunks in all. Raises NotFound."""
        self._guard(document_id)
        done, total = self._session.execute(
            select(func.count(Chunk.vector), func.count()).where(
                Chunk.document_id == document_id, Chunk.generation == generation
            )
        ).one()
        return done, total

    def pending(
        self, document_id: str, generation: int, *, after: int = -1, limit: int = 256
    ) -> list[ChunkRow]:
        """Up to `limit` chunks without a vector and with an ordinal above `after`. Raises NotFound."""
        self._guard(document_id)
        query = (
            select(Chunk)
            .where(
                Chunk.document_id == document_id,
                Chunk.generation == generation,
                Chunk.ordinal > after,
                Chunk.vector.is_(None),
            )
            .order_by(Chunk.ordinal)
            .limit(limit)
        )
        return [chunk_record(row) for row in self._session.scalars(query)]

    def text_slices(self, document_id: str, generation: int, spans: Sequence[tuple[int, int]]) -> list[str]:
        """`text[start:end]` of a generation that need not be live. Raises NotFound."""
        self._guard(document_id)
        return read_slices(self._session, document_id, generation, spans)

    def write_vectors(self, document_id: str, generation: int, vectors: Mapping[int, Half]) -> None:
        """Store vectors float16[dimension] by chunk key.

        Raises NotFound, also (`chunk_not_found`) when a key is not one of this generation.
        """
        self._guard(document_id)
        keys = list(vectors)
        mine = (document_id, generation)
        for first in range(0, len(keys), _VECTORS):
            some = keys[first : first + _VECTORS]
            packed = {key: vectors[key].astype(np.float16).tobytes() for key in some}
            owners = set_bytes(self._session, _CHUNKS, "vector", packed, ("document_id", "generation"))
            if len(owners) != len(some) or any(owner != mine for owner in owners):
                raise NotFound(  # which takes what was written back with it
                    f"generation {generation} of {document_id!r} lacks a chunk of {some[0]}…{some[-1]}",
                    code="chunk_not_found",
                )

    def reuse_vectors(self, document_id: str, generation: int) -> int:
        """Give chunks without a vector that of the live generation's chunk with the same digest.

        Returns how many got one. Raises NotFound.
        """
        self._guard(document_id)
        mine = (Chunk.document_id == document_id, Chunk.digest.is_not(None))
        live = select(Document.generation).where(Document.id == document_id).scalar_subquery()
        known = select(Chunk.digest, Chunk.id).where(
            *mine, Chunk.generation == live, Chunk.generation != generation, Chunk.vector.is_not(None)
        )
        keys = {row.digest: row.id for row in self._session.execute(known)}
        if not keys:
            return 0
        bare = select(Chunk.id, Chunk.digest).where(
            *mine, Chunk.generation == generation, Chunk.vector.is_(None)
        )
        pairs = {key: keys[digest] for key, digest in self._session.execute(bare) if digest in keys}
        wanted = list(pairs)
        for first in range(0, len(wanted), _VECTORS):
            some = wanted[first : first + _VECTORS]
            sources = select(Chunk.id, Chunk.vector).where(Chunk.id.in_({pairs[key] for key in some}))
            held = {row.id: row.vector for row in self._session.execute(sources)}
            packed = {key: held[pairs[key]] for key in some}
            set_bytes(self._session, _CHUNKS, "vector", packed, ("id",))
        return len(pairs)

    def publish(
        self, document_id: str, generation: int, *, title: str | None = None, embedder: str | None = None
    ) -> int:
        """Make a complete generation the live one and drop every other; returns the change's number.

        The document becomes what its version says; `title` is what it is shown as, by default the version's.
        Raises NotFound; Conflict (`duplicate_document`) where another document of the collection has the
        same bytes by now, and (`embedder_mismatch`) where the collection is no longer that of `embedder`;
        RuntimeError when a chunk has no vector, for then a search could not find it.
        """
        collection_id = self._guard(document_id)
        if embedder is not None:  # the document is locked, behind which an exchange of the embedder stands
            Collections(self._session, self._scope).require_embedder(collection_id, embedder)
        done, total = self.progress(document_id, generation)
        if done < total:
            raise RuntimeError(f"{total - done} of {total} chunks of {document_id} have no vector")
        if self._drop(document_id, keep=generation):
            withdraw(self._session, document_id, collection_id, keep=generation)
        values: dict[str, Any] = {
            "status": "ready",
            "error_code": None,
            "error_detail": None,
            "chunks_done": total,
            "chunks_total": total,
            "updated_at": utc_now(),
        }
        self._enter_version(document_id, generation, values, title)
        return Changes(self._session, self._scope).append(collection_id, document_id, generation, "publish")

    def _enter_version(
        self, document_id: str, generation: int, values: dict[str, Any], title: str | None
    ) -> None:
        live = self._session.scalars(select(Document.generation).where(Document.id == document_id)).one()
        version = self._session.get(Version, (document_id, generation), populate_existing=True)
        mine = Version.document_id == document_id
        self._session.execute(
            update(Version)
            .where(mine, Version.generation != generation, Version.status == "ready")
            .values(status="superseded")
        )
        self._session.execute(update(Version).where(mine, Version.generation == generation).values(**values))
        shown = dict(values)
        if version is not None and live > 0:  # the first one was noted on both as it went on
            names = ("sha256", "bytes", "filename", "media_type", "title", "characters")
            shown |= {name: getattr(version, name) for name in (*names, "pages_done", "pages_total")}
        if title is not None:
            shown["title"] = title
        try:
            with self._session.begin_nested():
                self._session.execute(
                    update(Document)
                    .where(Document.id == document_id, Document.workspace_id == self._workspace)
                    .values(generation=generation, **shown)
                )
        except IntegrityError as error:
            raise Conflict(
                f"another document of the collection has the bytes of version {generation} by now",
                code="duplicate_document",
            ) from error

    def discard_unpublished(self, document_id: str) -> None:
        """Drop what was written of any generation that is not live. Raises NotFound."""
        self._guard(document_id)
        live = self._session.scalars(select(Document.generation).where(Document.id == document_id)).one()
        self._drop(document_id, keep=live)

    def drop_all(self, document_id: str) -> None:
        """Drop text, pages, chunks and vectors of every generation. Raises NotFound."""
        collection_id = self._guard(document_id)
        self._drop(document_id, keep=None)
        withdraw(self._session, document_id, collection_id)

    def _drop(self, document_id: str, keep: int | None) -> bool:
        """Whether there was text to drop."""
        dropped = 0
        for table in (Chunk, Page, TextSegment):
            query = delete(table).where(table.document_id == document_id)
            if keep is not None:
                query = query.where(table.generation != keep)
            dropped = cast("CursorResult[Any]", self._session.execute(query)).rowcount
        return dropped > 0

    def _guard(self, document_id: str) -> str:
        if document_id in self._known:
            return self._known[document_id]
        found = self._session.scalar(
            select(Document.collection_id).where(
                Document.id == document_id, Document.workspace_id == self._workspace
            )
        )
        if found is None:
            raise NotFound(f"there is no document {document_id!r}", code="document_not_found")
        self._known[document_id] = found
        return found


_TEXTS, _PAGES, _CHUNKS = (cast("Table", kind.__table__) for kind in (TextSegment, Page, Chunk))
