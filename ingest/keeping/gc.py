"""Clearing up: files, objects and rows that nothing leads to. Nothing that could be asked for is touched."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

from sqlalchemy import ColumnElement, and_, delete, exists, func, select
from sqlalchemy.orm import Session

from ingest.keeping.gc_shared import clear_shared, shared_strays
from ingest.keeping.kv import blocks_of, kv_folder
from ingest.locks import holder_is_dead, remove_if_dead
from ingest.originals.choice import originals_of
from rag.index.snapshot import drop
from rag.settings import Settings
from rag.store.migrate import check
from rag.store.scope import utc_now
from rag.store.session import Database
from rag.store.tables import (
    Answer,
    Chunk,
    Collection,
    Document,
    IngestJob,
    NextVector,
    Page,
    TextSegment,
)

Kind = Literal["original", "upload", "worker", "index", "kv", "rows", "answers"]


@dataclass(frozen=True, slots=True)
class Garbage:
    """A file, folder or object, or `count` rows of a table, by name."""

    kind: Kind
    name: str
    count: int
    bytes: int


def collect(
    db: Database, settings: Settings, *, dry_run: bool, answers_older_than: timedelta | None = None
) -> list[Garbage]:
    """Find what nothing leads to and, unless `dry_run`, remove it.

    Answers go by age alone, and only where one is given. Raises Unmigrated, Unavailable, OSError.
    """
    check(db)
    conditions = _conditions(answers_older_than)
    with db.read() as session:
        rows = list(_rows(session, conditions))
        paths = list(_paths(session, settings))
    originals = originals_of(db, settings)
    found = [*rows, *(Garbage(kind, str(path), 1, _size(path)) for kind, path in paths)]
    found += [Garbage("original", stray.name, 1, stray.bytes) for stray in originals.strays()]
    found += [Garbage(stray.kind, stray.name, 1, stray.bytes) for stray in shared_strays(db, settings)]
    if not dry_run:
        with db.session() as session:
            for table, condition in conditions:
                session.execute(delete(table).where(condition))
        for kind, path in paths:
            _remove(kind, path)
        originals.sweep()
        clear_shared(db, settings)
        db.scrub()
    return found


def _conditions(answers_older_than: timedelta | None) -> list[tuple[type[Any], ColumnElement[bool]]]:
    """Which rows of which table are nobody's."""
    found: list[tuple[type[Any], ColumnElement[bool]]] = []
    for table in (Chunk, Page, TextSegment):
        live = exists().where(Document.id == table.document_id, Document.generation == table.generation)
        coming = exists().where(
            IngestJob.document_id == table.document_id,
            IngestJob.generation == table.generation,
            IngestJob.status.in_(("queued", "running")),
        )
        found.append((table, and_(~live, ~coming)))
    wanted = exists().where(
        Collection.id == NextVector.collection_id, Collection.next_embedder == NextVector.embedder
    )
    found.append((NextVector, ~wanted))
    if answers_older_than is not None:
        found.append((Answer, Answer.created_at < utc_now() - answers_older_than))
    return found


def _rows(session: Session, conditions: list[tuple[type[Any], ColumnElement[bool]]]) -> Iterator[Garbage]:
    for table, condition in conditions:
        count = session.scalar(select(func.count()).select_from(table).where(condition)) or 0
        if count:
            yield Garbage("answers" if table is Answer else "rows", table.__tablename__, count, 0)


def _paths(session: Session, settings: Settings) -> Iterator[tuple[Kind, Path]]:
    folder = settings.data_dir
    for kind, pattern in (("upload", "tmp/upload_*"), ("worker", "workers/wrk_*")):
        for path in sorted(folder.glob(pattern)):
            if holder_is_dead(path):
                yield kind, path  # type: ignore[misc]
    collections = set(session.scalars(select(Collection.id)))
    for path in sorted((folder / "index").glob("*")):
        if path.name not in collections:
            yield "index", path
    documents = set(session.scalars(select(Document.id)))
    for path in blocks_of(kv_folder(settings), lambda tags: not tags <= documents):
        yield "kv", path


def _remove(kind: Kind, path: Path) -> None:
    if kind in {"upload", "worker"}:
        remove_if_dead(path)
    elif kind == "index":
        drop(path)
    elif kind == "kv":
        path.unlink(missing_ok=True)


def _size(path: Path) -> int:
    try:
        if path.is_dir():
            return sum(entry.stat().st_size for entry in path.rglob("*") if entry.is_file())
        return path.stat().st_size
    except FileNotFoundError:
        return 0
