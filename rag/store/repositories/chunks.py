"""Chunks of live generations, and of a given one for those who build indexes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Row, Select, bindparam, func, select

from rag.errors import NotFound
from rag.store.records import ChunkRow, Half, LiveChunk
from rag.store.repositories.documents import read_slices
from rag.store.scope import Repository, fetch, of_scope
from rag.store.tables import Chunk, Document

_SOME_IDS = 500
_Columns = Row[*tuple[Any, ...]]
_CHUNK, _DOCUMENT = Chunk.__table__.c, Document.__table__.c
# What a record needs, without the objects and the vectors of whole rows.
_CHUNKS = select(
    *(_CHUNK.id, _CHUNK.document_id, _CHUNK.generation, _CHUNK.ordinal, _CHUNK.start, _CHUNK.end),
    *(_CHUNK.page_start, _CHUNK.page_end, _CHUNK.headings, _CHUNK.tokens),
).where(_CHUNK.id.in_(bindparam("ids", expanding=True)))


@cache
def _documents(restricted: bool) -> Select[*tuple[Any, ...]]:
    """Those of the documents `ids` that are the workspace's, in collections that are `visible`."""
    return select(
        *(_DOCUMENT.id, _DOCUMENT.collection_id, _DOCUMENT.generation, _DOCUMENT.title),
        *(_DOCUMENT.filename, _DOCUMENT.media_type, _DOCUMENT.metadata.label("meta")),
    ).where(
        of_scope(_DOCUMENT.workspace_id, _DOCUMENT.collection_id, restricted),
        _DOCUMENT.id.in_(bindparam("ids", expanding=True)),
    )


class Chunks(Repository):
    """Chunks of one workspace. What is not of a live generation is seen by `of_generation` alone."""

    def of_generation(self, document_id: str, generation: int) -> list[ChunkRow]:
        """The chunks of one generation in order, with vectors; empty when it is gone. Raises NotFound."""
        self._guard(document_id)
        query = (
            select(Chunk)
            .where(Chunk.document_id == document_id, Chunk.generation == generation)
            .order_by(Chunk.ordinal)
        )
        return [chunk_record(row) for row in self._session.scalars(query)]

    def vectors(self, document_id: str, generation: int) -> tuple[NDArray[np.int64], Half]:
        """Keys int64[n] and vectors float16[n, dimension] of a generation, without the rest of the rows.

        Raises NotFound.
        """
        self._guard(document_id)
        rows = self._session.execute(
            select(Chunk.id, Chunk.vector)
            .where(
                Chunk.document_id == document_id, Chunk.generation == generation, Chunk.vector.is_not(None)
            )
            .order_by(Chunk.ordinal)
        ).all()
        keys = np.array([key for key, _ in rows], dtype=np.int64)
        joined = b"".join(vector for _, vector in rows if vector is not None)
        return keys, np.frombuffer(joined, dtype=np.float16).reshape(len(rows), -1 if rows else 0)

    def live(self, ids: Sequence[int]) -> dict[int, LiveChunk]:
        """Those of the given chunks that belong to a live generation: a deleted one can't be among them."""
        found: dict[int, LiveChunk] = {}
        for first in range(0, len(ids), _SOME_IDS):
            wanted = [int(key) for key in ids[first : first + _SOME_IDS]]
            # two statements: one join lets SQLite start from the documents and walk through all their chunks
            chunks = fetch(self._session, _CHUNKS, {"ids": wanted}).all()
            rows = self._fetch(_documents, ids=list({chunk.document_id for chunk in chunks}))
            documents = {document.id: document for document in rows}
            for chunk in chunks:
                document = documents.get(chunk.document_id)
                if document is not None and document.generation == chunk.generation:
                    found[chunk.id] = _live_record(chunk, document)
        return found

    def texts(self, ids: Sequence[int]) -> dict[int, str]:
        """The text of each of the given chunks that is live."""
        by_document: dict[tuple[str, int], list[LiveChunk]] = {}
        for chunk in self.live(ids).values():
            by_document.setdefault((chunk.document_id, chunk.generation), []).append(chunk)
        texts: dict[int, str] = {}
        for (document_id, generation), chunks in by_document.items():
            spans = [(chunk.start, chunk.end) for chunk in chunks]
            slices = read_slices(self._session, document_id, generation, spans)
            texts.update(zip((chunk.id for chunk in chunks), slices, strict=True))
        return texts

    def of_document(
        self,
        document_id: str,
        *,
        first: int = 0,
        last: int | None = None,
        limit: int | None = None,
    ) -> list[LiveChunk]:
        """Live chunks with ordinals from `first` to `last` inclusive, in order. Raises NotFound."""
        self._guard(document_id)
        query = self._live().where(Chunk.document_id == document_id, Chunk.ordinal >= first)
        if last is not None:
            query = query.where(Chunk.ordinal <= last)
        query = query.order_by(Chunk.ordinal).limit(limit)
        return [_live_record(chunk, document) for chunk, document in self._session.execute(query)]

    def count(self, *, collection_id: str | None = None) -> int:
        """How many chunks are live, in one collection or all."""
        query = (
            select(func.count())
            .select_from(Chunk)
            .join(Document, Document.id == Chunk.document_id)
            .where(
                Document.workspace_id == self._workspace,
                self._seen(Document.collection_id),
                Chunk.generation == Document.generation,
            )
        )
        if collection_id is not None:
            query = query.where(Document.collection_id == collection_id)
        return self._session.scalar(query) or 0

    def _live(self) -> Select[Chunk, Document]:
        return (
            select(Chunk, Document)
            .join(Document, Document.id == Chunk.document_id)
            .where(
                Document.workspace_id == self._workspace,
                self._seen(Document.collection_id),
                Chunk.generation == Document.generation,
            )
        )

    def _guard(self, document_id: str) -> None:
        found = self._session.scalar(
            select(Document.id).where(
                Document.id == document_id,
                Document.workspace_id == self._workspace,
                self._seen(Document.collection_id),
            )
        )
        if found is None:
            raise NotFound(f"there is no document {document_id!r}", code="document_not_found")


def chunk_record(row: Chunk) -> ChunkRow:
    """The frozen record of a row."""
    return ChunkRow(
        row.id,
        row.document_id,
        row.generation,
        row.ordinal,
        row.start,
        row.end,
        row.page_start,
        row.page_end,
        tuple(row.headings),
        row.tokens,
        None if row.vector is None else np.frombuffer(row.vector, dtype=np.float16),
    )


def _live_record(chunk: Chunk | _Columns, document: Document | _Columns) -> LiveChunk:
    return LiveChunk(
        chunk.id,
        chunk.document_id,
        document.collection_id,
        chunk.generation,
        chunk.ordinal,
        chunk.start,
        chunk.end,
        chunk.page_start,
        chunk.page_end,
        tuple(chunk.headings),
        chunk.tokens,
        document.title,
        document.filename,
        document.media_type,
        document.meta,
    )
