"""Chunks of live generations, and of a given one for those who build indexes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Integer, Row, Select, and_, bindparam, case, cast, func, select

from rag.errors import NotFound
from rag.store.records import ChunkRow, Half, LiveChunk
from rag.store.scope import Repository, of_scope
from rag.store.tables import TEXT_SEGMENT, Chunk, Document, TextSegment

_SOME_IDS = 500
_Columns = Row[*tuple[Any, ...]]
_CHUNK, _DOCUMENT = Chunk.__table__.c, Document.__table__.c
_TEXT = TextSegment.__table__.c
# What a record needs, without the objects and the vectors of whole rows.
_OF_CHUNK = (
    *(_CHUNK.id, _CHUNK.document_id, _CHUNK.generation, _CHUNK.ordinal, _CHUNK.start, _CHUNK.end),
    *(_CHUNK.page_start, _CHUNK.page_end, _CHUNK.headings, _CHUNK.tokens),
)
_OF_DOCUMENT = (
    *(_DOCUMENT.collection_id, _DOCUMENT.title, _DOCUMENT.filename, _DOCUMENT.media_type),
    _DOCUMENT.metadata.label("meta"),
)


@cache
def _live_chunks(restricted: bool, texts: bool) -> Select[*tuple[Any, ...]]:
    """The chunks `ids` with their documents, NULL where these are not live or not seen; with `texts` a row
    for each segment that a chunk's text is in, and what of it is the chunk's.

    Outer joins, for SQLite would start an inner one from the documents and walk through all their chunks.
    """
    live = and_(
        _DOCUMENT.id == _CHUNK.document_id,
        _DOCUMENT.generation == _CHUNK.generation,
        of_scope(_DOCUMENT.workspace_id, _DOCUMENT.collection_id, restricted),
    )
    wanted = _CHUNK.id.in_(bindparam("ids", expanding=True))
    joined = Chunk.__table__.outerjoin(Document.__table__, live)
    if not texts:
        return select(*_OF_CHUNK, *_OF_DOCUMENT).select_from(joined).where(wanted)
    joined = joined.outerjoin(
        TextSegment.__table__,
        and_(
            _TEXT.document_id == _DOCUMENT.id,
            _TEXT.generation == _CHUNK.generation,
            _TEXT.start < _CHUNK.end,
            _TEXT.start > _CHUNK.start - TEXT_SEGMENT,
        ),
    )
    begins = case((_TEXT.start < _CHUNK.start, _CHUNK.start), else_=_TEXT.start)
    first, length = cast(begins - _TEXT.start + 1, Integer), cast(_CHUNK.end - begins, Integer)
    part = func.substr(_TEXT.text, first, length)  # PostgreSQL's knows no BIGINT
    rows = select(*_OF_CHUNK, *_OF_DOCUMENT, part.label("part")).select_from(joined).where(wanted)
    return rows.order_by(_CHUNK.id, _TEXT.start)


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
        return {row.id: _live_record(row, row) for row in self._live_rows(ids, texts=False)}

    def read(self, ids: Sequence[int]) -> dict[int, tuple[LiveChunk, str]]:
        """The same with their texts, in a single statement for up to 500 of them."""
        found: dict[int, tuple[LiveChunk, str]] = {}
        for row in self._live_rows(ids, texts=True):
            chunk, text = found.get(row.id) or (_live_record(row, row), "")
            found[row.id] = chunk, text + (row.part or "")
        return found

    def texts(self, ids: Sequence[int]) -> dict[int, str]:
        """The text of each of the given chunks that is live."""
        return {key: text for key, (_, text) in self.read(ids).items()}

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

    def _live_rows(self, ids: Sequence[int], *, texts: bool) -> Iterator[_Columns]:
        """The rows of `_live_chunks` for these keys, a bounded number in each statement."""
        for first in range(0, len(ids), _SOME_IDS):
            wanted = [int(key) for key in ids[first : first + _SOME_IDS]]
            for row in self._fetch(partial(_live_chunks, texts=texts), ids=wanted):
                if row.collection_id is not None:
                    yield row

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
