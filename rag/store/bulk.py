"""Many rows by one statement: on PostgreSQL as arrays, one parameter a column, however many rows there are.

SQLite runs in this process, where a statement more costs no message: there rows go one by one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from sqlalchemy import JSON, BigInteger, Integer, LargeBinary, Table, insert, text
from sqlalchemy.orm import Session
from sqlalchemy.sql.elements import TextClause

ROWS = 2_000
"""Rows of one statement at most: bounded memory."""


def add_rows(session: Session, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert at most `ROWS` rows, which all name the same columns: numbers, texts, bytes and JSON."""
    if not rows:
        return
    names = tuple(rows[0])
    if session.get_bind().dialect.name != "postgresql":
        session.connection().execute(insert(table), list(rows))
        return
    values = {name: [row[name] for row in rows] for name in names}
    for name in names:
        if isinstance(table.c[name].type, JSON):  # of lists an array would make more dimensions
            values[name] = [json.dumps(value, ensure_ascii=False) for value in values[name]]
    session.connection().execute(_insert(table, names), values)


def set_bytes(
    session: Session, table: Table, column: str, values: Mapping[int, bytes], owner: Sequence[str]
) -> list[tuple[Any, ...]]:
    """Set one column of the rows with these keys in `id`; returns what their columns `owner` hold, for each
    row that there was, so that the caller sees whose it changed."""
    if session.get_bind().dialect.name != "postgresql":
        connection, one = session.connection(), _update_one(table, column, tuple(owner))
        return [
            tuple(row)
            for key, value in values.items()
            for row in connection.execute(one, {"key": key, "packed": value})
        ]
    rows = session.connection().execute(
        _update(table, column, tuple(owner)), {"keys": list(values), "packed": list(values.values())}
    )
    return [tuple(row) for row in rows]


@cache
def _insert(table: Table, names: tuple[str, ...]) -> TextClause:
    columns = ", ".join(f'"{name}"' for name in names)
    arrays = ", ".join(f"CAST(:{name} AS {_plain(table, name)}[])" for name in names)
    shown = ", ".join(
        f'r."{name}"::jsonb' if isinstance(table.c[name].type, JSON) else f'r."{name}"' for name in names
    )
    return text(
        f"INSERT INTO {table.name} ({columns}) SELECT {shown} FROM unnest({arrays}) AS r ({columns})"  # noqa: S608
    )


@cache
def _update(table: Table, column: str, owner: tuple[str, ...]) -> TextClause:
    # By the key alone: given more conditions, a PostgreSQL without statistics yet may go by those.
    returned = ", ".join(f"{table.name}.{name}" for name in owner)
    return text(
        f"UPDATE {table.name} SET {column} = r.packed "  # noqa: S608 (names of our own tables)
        "FROM unnest(CAST(:keys AS BIGINT[]), CAST(:packed AS BYTEA[])) AS r (id, packed) "
        f"WHERE {table.name}.id = r.id RETURNING {returned}"
    )


@cache
def _update_one(table: Table, column: str, owner: tuple[str, ...]) -> TextClause:
    returned = ", ".join(owner)
    return text(
        f"UPDATE {table.name} SET {column} = :packed WHERE id = :key RETURNING {returned}"  # noqa: S608
    )


def _plain(table: Table, name: str) -> str:
    kind = table.c[name].type
    for known, plain in ((BigInteger, "BIGINT"), (Integer, "INTEGER"), (LargeBinary, "BYTEA")):
        if isinstance(kind, known):
            return plain
    return "TEXT"
