"""Totals: how much the whole store holds, as numbers without names. For its keeper alone."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from rag.store.tables import Collection, Document, StoreState, Workspace


@dataclass(frozen=True)
class Totals:
    """Counts over all workspaces.

    `documents` by status, `failed` by the code that they failed with; `chunks` and `bytes` (of originals) of
    the documents' shown versions; `changes` is the number of the last change.
    """

    workspaces: int
    collections: int
    documents: dict[str, int]
    failed: dict[str, int]
    chunks: int
    bytes: int
    changes: int
    database_bytes: int


def totals(session: Session) -> Totals:
    """Count once over the documents, without reading any text."""
    by_status = session.execute(
        select(
            Document.status,
            Document.error_code,
            func.count(),
            func.coalesce(func.sum(Document.chunks_total), 0),
            func.coalesce(func.sum(Document.bytes), 0),
        ).group_by(Document.status, Document.error_code)
    ).all()
    documents: dict[str, int] = {}
    failed: dict[str, int] = {}
    for status, code, count, _, _ in by_status:
        documents[status] = documents.get(status, 0) + count
        if status == "failed":
            failed[code or "internal"] = failed.get(code or "internal", 0) + count
    return Totals(
        workspaces=session.scalar(select(func.count()).select_from(Workspace)) or 0,
        collections=session.scalar(select(func.count()).select_from(Collection)) or 0,
        documents=documents,
        failed=failed,
        chunks=sum(int(row[3]) for row in by_status),
        bytes=sum(int(row[4]) for row in by_status),
        changes=session.scalars(select(StoreState.change_seq)).one(),
        database_bytes=_database_bytes(session),
    )


def _database_bytes(session: Session) -> int:
    if session.get_bind().dialect.name == "postgresql":
        return int(session.scalar(text("SELECT pg_database_size(current_database())")) or 0)
    pages = session.scalar(text("SELECT page_count FROM pragma_page_count()")) or 0
    return int(pages) * int(session.scalar(text("SELECT page_size FROM pragma_page_size()")) or 0)
