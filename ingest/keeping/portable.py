"""The portable form of rows: compressed JSON lines that either database writes and either reads.

A file is a run of tables. Each begins with a line that is an object, `{"table": …, "columns": [[name, kind],
…]}`, and goes on with one line a row, an array in the order of the columns. Kinds say how a value is
written: `time` as ISO 8601 in UTC, `bytes` as base64, `json` and `plain` as they are. The same rows give the
same bytes.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import os
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from ingest.files import sync_folder
from rag.errors import LongleafError
from rag.ids import new_id
from rag.store.tables import Json, Utc

BATCH = 1000
"""Rows that are held in memory at a time."""
_LEVEL = 1  # vectors hardly get smaller, and text not much smaller at a higher one

TYPES: dict[str, sa.types.TypeEngine[Any]] = {
    "time": Utc(),
    "bytes": sa.LargeBinary(),
    "json": Json,
    "plain": sa.types.NullType(),
}


class BackupDamaged(LongleafError):
    """A backup or export is not what its manifest says; the message names the file."""

    status = 409
    default_code = "backup_damaged"


@dataclass(frozen=True, slots=True)
class Written:
    """A file that was written: its SHA-256 and size."""

    sha256: str
    bytes: int


@dataclass(frozen=True, slots=True)
class Part:
    """Rows of one table, as dictionaries of Python values; `columns` are pairs of name and kind."""

    table: str
    columns: tuple[tuple[str, str], ...]
    rows: Iterator[dict[str, Any]]


def kind_of(column: sa.Column[Any]) -> str:
    """How values of a column are written."""
    if isinstance(column.type, Utc):
        return "time"
    if isinstance(column.type, sa.LargeBinary):
        return "bytes"
    if isinstance(column.type, sa.JSON):
        return "json"
    return "plain"


def columns_of(table: sa.Table) -> tuple[tuple[str, str], ...]:
    """Names and kinds of a table's columns."""
    return tuple((column.name, kind_of(column)) for column in table.columns)


def part_of(
    session: Session, table: sa.Table, *where: sa.ColumnElement[bool], order: Sequence[Any] = ()
) -> Part:
    """Rows of `table`, streamed, in the order of its key unless another is given."""
    query = sa.select(table).where(*where).order_by(*(order or table.primary_key.columns))
    found = session.execute(query.execution_options(yield_per=BATCH))
    return Part(table.name, columns_of(table), (dict(row) for row in found.mappings()))


def write(path: Path, parts: Iterable[Part]) -> Written:
    """Write a file whole or not at all, durable when this returns. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{new_id('new')}")
    try:
        with draft.open("wb") as raw:
            # without name and time in it, so that the same rows give the same bytes
            with gzip.GzipFile("", "wb", _LEVEL, raw, mtime=0) as packed:
                for part in parts:
                    _write_part(packed, part)
            raw.flush()
            os.fsync(raw.fileno())
        written = digest(draft)
        os.replace(draft, path)
        sync_folder(path.parent)
    finally:
        draft.unlink(missing_ok=True)
    return written


def _write_part(packed: gzip.GzipFile, part: Part) -> None:
    head = {"table": part.table, "columns": [list(column) for column in part.columns]}
    packed.write(_line(head))
    for row in part.rows:
        packed.write(_line([_out(kind, row[name]) for name, kind in part.columns]))


def _line(value: object) -> bytes:
    return (
        json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass") + b"\n"
    )


def _out(kind: str, value: Any) -> Any:
    if value is None or kind in {"json", "plain"}:
        return value
    if kind == "time":
        return value.astimezone(UTC).isoformat()
    return base64.b64encode(value).decode()


def read(path: Path, sha256: str | None = None) -> Iterator[Part]:
    """The parts of a file in order; the rows of one are read before the next is asked for.

    Raises BackupDamaged when the file is missing, is not of this form, or has another digest than `sha256`.
    """
    with _named(path):
        if sha256 is not None and digest(path).sha256 != sha256:
            raise BackupDamaged(f"{path} is damaged: its digest is not the one that was noted")
        with gzip.open(path, "rb") as packed:
            lines = iter(packed)
            pending: list[Any] = [_next(lines)]
            while pending[0] is not None:
                head = pending[0]
                columns = tuple((str(name), str(kind)) for name, kind in head["columns"])
                part = Part(str(head["table"]), columns, _rows(path, lines, columns, pending))
                yield part
                for _ in part.rows:  # what the caller has left
                    pass


def _rows(
    path: Path, lines: Iterator[bytes], columns: tuple[tuple[str, str], ...], pending: list[Any]
) -> Iterator[dict[str, Any]]:
    with _named(path):
        while isinstance(values := _next(lines), list):
            if len(values) != len(columns):
                raise ValueError(f"a row has {len(values)} values for {len(columns)} columns")
            yield {name: _in(kind, value) for (name, kind), value in zip(columns, values, strict=True)}
        pending[0] = values


@contextmanager
def _named(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise BackupDamaged(f"{path} is missing") from error
    except (OSError, EOFError, zlib.error, ValueError, KeyError, TypeError) as error:
        raise BackupDamaged(f"{path} can't be read: {error}") from error


def _next(lines: Iterator[bytes]) -> Any:
    line = next(lines, None)
    return None if line is None else json.loads(line)


def _in(kind: str, value: Any) -> Any:
    if value is None or kind in {"json", "plain"}:
        return value
    if kind == "time":
        return datetime.fromisoformat(value)
    if kind == "bytes":
        return base64.b64decode(value, validate=True)
    raise ValueError(f"a column of the unknown kind {kind!r}")


def load(session: Session, part: Part) -> int:
    """Insert the rows of a part; returns how many."""
    table = sa.table(part.table, *(sa.column(name, TYPES[kind]) for name, kind in part.columns))
    inserted, batch = 0, list[dict[str, Any]]()
    for row in part.rows:
        batch.append(row)
        if len(batch) == BATCH:
            session.execute(sa.insert(table), batch)
            inserted, batch = inserted + len(batch), []
    if batch:
        session.execute(sa.insert(table), batch)
    return inserted + len(batch)


def digest(path: Path) -> Written:
    """SHA-256 and size of a file. Raises OSError."""
    with path.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
        return Written(found, stream.tell())
