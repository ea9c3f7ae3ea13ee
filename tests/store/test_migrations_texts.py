"""Texts are cut into shorter segments by a migration, and put together again by the way back."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from sqlalchemy import MetaData, Table, insert, select

from rag.store import migrate
from rag.store.migrate import move_to
from rag.store.records import ChunkDraft
from rag.store.repositories import DEFAULT_SCOPE, Chunks, Collections, Documents, Generations
from rag.store.session import Database
from rag.store.tables import TEXT_SEGMENT

LONG = 65_536
TEXT = "".join(chr(0x3B1 + place % 25) if place % 3 else "🜁" for place in range(2 * LONG + 40_000))
SHORT_TEXT = "kurz żółw"


@pytest.fixture
def empty(empty_database_url: str) -> Iterator[Database]:
    database = Database(empty_database_url)
    yield database
    database.dispose()


def _move(db: Database, revision: str, *, down: bool = False) -> None:
    with db.session() as session:
        move_to(session.connection(), revision, down=down)


def _texts(db: Database) -> Table:
    with db.read() as session:
        return Table("texts", MetaData(), autoload_with=session.connection())


def _segments(db: Database, document_id: str) -> list[tuple[int, str]]:
    table = _texts(db)
    query = select(table.c.start, table.c.text).where(table.c.document_id == document_id)
    with db.read() as session:
        return [(start, text) for start, text in session.execute(query.order_by(table.c.start))]


def _cut(text: str, size: int) -> list[tuple[int, str]]:
    return [(start, text[start : start + size]) for start in range(0, len(text), size)]


def test_texts_of_the_older_schema_are_read_as_they_were_written(empty: Database) -> None:
    migrate.upgrade(empty)
    with empty.session() as session:
        collection = Collections(session, DEFAULT_SCOPE).ensure("books", "embedder").id
        documents = Documents(session, DEFAULT_SCOPE)
        ids = [
            documents.add(collection, title=name, filename=name, sha256=name * 64, size=1, meta={}).id
            for name in ("a", "b")
        ]
    _move(empty, "0014", down=True)
    with empty.session() as session:
        session.execute(
            insert(_texts(empty)),
            [
                {"document_id": key, "generation": 1, "start": start, "text": part}
                for key, text in zip(ids, (TEXT, SHORT_TEXT), strict=True)
                for start, part in _cut(text, LONG)
            ],
        )
    migrate.upgrade(empty)
    assert _segments(empty, ids[0]) == _cut(TEXT, TEXT_SEGMENT)
    assert _segments(empty, ids[1]) == [(0, SHORT_TEXT)]
    start, end = LONG - 700, LONG + TEXT_SEGMENT + 300
    with empty.session() as session:
        generations = Generations(session, DEFAULT_SCOPE)
        generations.write_chunks(ids[0], 1, [ChunkDraft(0, start, end, 1, 1, (), 5)])
        chunks = Chunks(session, DEFAULT_SCOPE)
        (written,) = chunks.of_generation(ids[0], 1)
        generations.write_vectors(ids[0], 1, {written.id: np.ones(4, dtype=np.float16)})
        generations.publish(ids[0], 1)
        assert list(chunks.texts([chunk.id for chunk in chunks.of_document(ids[0])]).values()) == [
            TEXT[start:end]
        ]
    _move(empty, "0014", down=True)
    assert _segments(empty, ids[0]) == _cut(TEXT, LONG)
    assert _segments(empty, ids[1]) == [(0, SHORT_TEXT)]
