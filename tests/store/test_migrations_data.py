"""Migrations with data in every table: up, down and broken off, from every revision there has been."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import JSON, Boolean, DateTime, Integer, LargeBinary, MetaData, Table, insert, inspect, select

from rag.store import migrate
from rag.store.migrate import move_to
from rag.store.records import ChunkDraft
from rag.store.repositories import DEFAULT_SCOPE, Chunks, Collections, Documents, Generations
from rag.store.session import Database
from rag.store.tables import TEXT_SEGMENT, Base

REVISIONS = sorted(
    script.revision for script in ScriptDirectory.from_config(migrate._config()).walk_revisions()
)
Rows = dict[str, list[tuple[Any, ...]]]


@pytest.fixture
def empty(empty_database_url: str) -> Iterator[Database]:
    database = Database(empty_database_url)
    yield database
    database.dispose()


def _tables(db: Database) -> dict[str, Table]:
    metadata = MetaData()
    with db.read() as session:
        metadata.reflect(session.connection())
    return {table.name: table for table in metadata.sorted_tables if table.name != "alembic_version"}


def _value(  # noqa: PLR0911  # one for each kind of column
    table: Table, column: Any, mark: int, filled: dict[str, list[dict[str, Any]]]
) -> Any:
    """Something that the column takes: a reference's target where there is one, else told apart by `mark`."""
    for key in column.foreign_keys:
        return filled[key.column.table.name][-1][key.column.name]
    if isinstance(column.type, DateTime):
        return datetime(2026, 3, mark % 28 + 1, tzinfo=UTC)
    if isinstance(column.type, Boolean):
        return mark % 2 == 0
    if isinstance(column.type, Integer):
        return mark
    if isinstance(column.type, LargeBinary):
        return bytes([mark, 0, 255])
    if isinstance(column.type, JSON):
        return {"of": [table.name, mark, "żółw"]}
    return f"{mark}ż{column.name}"[: getattr(column.type, "length", None) or 40]


def _fill(db: Database, mark: int) -> None:
    """Put a row into every table that takes more than one."""
    filled: dict[str, list[dict[str, Any]]] = {}
    tables = _tables(db)
    with db.session() as session:
        for name, table in tables.items():
            filled[name] = [dict(row._mapping) for row in session.execute(select(table))]
            if name == "store_state":  # one row, made by the first migration
                continue
            row = {column.name: _value(table, column, mark, filled) for column in table.columns}
            session.execute(insert(table).values(row))
            filled[name].append(row)


def _rows(db: Database, like: dict[str, Table]) -> Rows:
    """All rows of these tables, by their columns."""
    with db.read() as session:
        return {
            name: sorted((tuple(row) for row in session.execute(select(table))), key=repr)
            for name, table in like.items()
        }


def _move(db: Database, revision: str, *, down: bool = False) -> None:
    with db.session() as session:
        move_to(session.connection(), revision, down=down)


def _shape(db: Database) -> dict[str, list[str]]:
    with db.read() as session:
        inspector = inspect(session.connection())
        return {
            name: sorted(column["name"] for column in inspector.get_columns(name))
            for name in inspector.get_table_names()
        }


def test_every_column_of_today_is_filled(empty: Database) -> None:
    migrate.upgrade(empty)
    _fill(empty, 7)
    for name, rows in _rows(empty, _tables(empty)).items():
        assert len(rows) >= 1, name
        # the workspace that the first migration makes has no limits of its own
        made = any if name == "workspaces" else all
        assert made(None not in row for row in rows) or name == "store_state", name


@pytest.mark.parametrize("revision", REVISIONS)
def test_all_data_of_a_revision_survive_the_way_to_the_newest_and_back(
    empty: Database, revision: str
) -> None:
    _move(empty, revision)
    _fill(empty, 5)
    tables, shape = _tables(empty), _shape(empty)
    before = _rows(empty, tables)
    migrate.upgrade(empty)
    with empty.read() as session:
        context = MigrationContext.configure(session.connection(), opts={"compare_type": True})
        assert list(compare_metadata(context, Base.metadata)) == []
    assert _rows(empty, tables) == before
    _fill(empty, 9)
    if revision != REVISIONS[-1]:
        _move(empty, revision, down=True)
    assert (migrate.current_revision(empty), _shape(empty)) == (revision, shape)
    after = _rows(empty, tables)
    assert {name: [row for row in before[name] if row not in after[name]] for name in before} == {
        name: [] for name in before
    }
    migrate.upgrade(empty)
    assert migrate.current_revision(empty) == migrate.head_revision()


@pytest.mark.parametrize("revision", REVISIONS[:-1])
def test_a_migration_that_fails_leaves_schema_and_data_as_they_were(
    empty: Database, revision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _move(empty, revision)
    _fill(empty, 5)
    tables, shape = _tables(empty), _shape(empty)
    before = _rows(empty, tables)
    whole = command.upgrade

    def torn(config: Any, target: str) -> None:
        whole(config, target)
        raise RuntimeError("power lost")

    with monkeypatch.context() as patch:
        patch.setattr(command, "upgrade", torn)
        with pytest.raises(RuntimeError, match="power lost"):
            migrate.upgrade(empty)
    assert (migrate.current_revision(empty), _shape(empty)) == (revision, shape)
    assert _rows(empty, tables) == before
    _fill(empty, 6)  # the old schema goes on to be of use
    migrate.upgrade(empty)
    assert migrate.current_revision(empty) == migrate.head_revision()


def test_a_process_that_is_killed_in_a_migration_leaves_the_old_schema(
    empty: Database, empty_database_url: str, tmp_path: Path
) -> None:
    _move(empty, REVISIONS[0])
    _fill(empty, 5)
    tables, shape = _tables(empty), _shape(empty)
    before = _rows(empty, tables)
    program = tmp_path / "killed.py"
    program.write_text(
        "import os, signal, sys\n"
        "from alembic import command\n"
        "from rag.store import migrate\n"
        "from rag.store.session import Database\n"
        "whole = command.upgrade\n"
        "def killed(config, target):\n"
        "    whole(config, target)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "command.upgrade = killed\n"
        "migrate.upgrade(Database(sys.argv[1]))\n"
    )
    root = str(Path(migrate.__file__).parents[2])
    ended = subprocess.run(
        [sys.executable, program, empty_database_url], env={"PYTHONPATH": root}, check=False, timeout=120
    )
    assert ended.returncode == -9
    assert (migrate.current_revision(empty), _shape(empty)) == (REVISIONS[0], shape)
    assert _rows(empty, tables) == before
    migrate.upgrade(empty)
    assert _rows(empty, tables) == before


LONG = 65_536
"""Code points of a text's segment until 0014."""
TEXT = "".join(chr(0x3B1 + place % 25) if place % 3 else "🜁" for place in range(2 * LONG + 40_000))
SHORT_TEXT = "kurz żółw"


def _segments(db: Database, document_id: str) -> list[tuple[int, str]]:
    table = _tables(db)["texts"]
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
            insert(_tables(empty)["texts"]),
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
