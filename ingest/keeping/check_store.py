"""The store against itself: what does not belong to one document alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from ingest.blobs import mark_of
from ingest.keeping.findings import Problem
from rag.index import snapshot
from rag.settings import Settings
from rag.store.records import FINAL_STATUSES
from rag.store.state import identity_of
from rag.store.tables import (
    Answer,
    AnswerSource,
    Change,
    Chunk,
    Collection,
    Document,
    IngestJob,
    StoreState,
    Version,
)

DATABASE_FILE = "longleaf.db"
_ENDED = (*FINAL_STATUSES, "superseded")


def check_database(session: Session) -> Iterator[Problem]:
    """SQLite's own checks of its pages, indexes and references; PostgreSQL keeps references by itself."""
    if session.get_bind().dialect.name != "sqlite":
        return
    for row in session.execute(text("PRAGMA integrity_check(20)")).all():
        if row[0] != "ok":
            yield Problem("database_damaged", DATABASE_FILE, str(row[0]))
    for row in session.execute(text("PRAGMA foreign_key_check")).all():
        yield Problem(
            "database_damaged", str(row[0]), f"row {row[1]} refers to a row of {row[2]} that is gone"
        )


def check_log(session: Session) -> Iterator[Problem]:
    """Whoever follows the log of changes comes to know of every live generation, and of no other."""
    newest, counter = (
        session.scalar(select(func.max(Change.seq))),
        session.scalar(select(StoreState.change_seq)),
    )
    if (newest or 0) > (counter or 0):
        yield Problem("log_broken", "changes", f"its counter is {counter}, its last entry {newest}", "log")
    latest = (
        select(Change.document_id, func.max(Change.seq).label("seq")).group_by(Change.document_id).subquery()
    )
    last = select(Change.document_id, Change.generation, Change.kind).join(latest, latest.c.seq == Change.seq)
    said = {row.document_id: (row.kind, row.generation) for row in session.execute(last)}
    live = select(Document.id, Document.generation, Document.workspace_id).where(Document.generation > 0)
    for document_id, generation, workspace_id in session.execute(live):
        if said.get(document_id) != ("publish", generation):
            detail = f"generation {generation} is live, and the log of changes does not say so"
            yield Problem("log_broken", document_id, detail, "log", workspace_id)


def check_jobs(session: Session) -> Iterator[Problem]:
    """What is to be read has a job that will be done."""
    waiting = (
        select(Version.document_id, Version.generation, Version.status, Document.workspace_id)
        .join(Document, Document.id == Version.document_id)
        .where(Version.status.not_in(_ENDED))
    )
    active = select(IngestJob.document_id, IngestJob.generation).where(
        IngestJob.status.in_(("queued", "running"))
    )
    queued = {tuple(row) for row in session.execute(active)}
    for document_id, generation, status, workspace_id in session.execute(waiting):
        if (document_id, generation) not in queued:
            detail = f"version {generation} is {status}, and no job will read it"
            yield Problem("job_missing", document_id, detail, "job", workspace_id)


def check_answers(session: Session) -> Iterator[Problem]:
    """An answer that holds words has each of its sources still."""
    gone = (
        select(Answer.id, Answer.workspace_id, AnswerSource.source_id)
        .join(AnswerSource, AnswerSource.answer_id == Answer.id)
        .outerjoin(Document, Document.id == AnswerSource.source_id)
        .outerjoin(Collection, Collection.id == AnswerSource.source_id)
        .where(
            Answer.words.is_not(None),
            Collection.id.is_(None),
            Document.id.is_(None) | (Document.generation != AnswerSource.generation),
        )
    )
    for answer_id, workspace_id, source in session.execute(gone):
        detail = f"it holds words that may come from {source}, which is gone or was read anew"
        yield Problem("answer_outlived", answer_id, detail, "withdraw", workspace_id)


def check_snapshot(session: Session, settings: Settings, collection: Collection) -> Iterator[Problem]:
    """Every row of a stored index against the database, where the two speak of the same generation."""
    folder = settings.data_dir / "index" / collection.id
    if not folder.is_dir():
        return
    identity = identity_of(session)
    index = snapshot.load(folder, snapshot.Origin(identity, collection.id, collection.embedder))
    if index is None:
        yield Problem("snapshot_damaged", collection.id, f"{folder} can't be used", "snapshot")
        return
    live = dict(
        session.execute(
            select(Document.id, Document.generation).where(
                Document.collection_id == collection.id, Document.generation > 0
            )
        ).all()
    )
    for document_id, (generation, ids) in index.documents.items():
        if document_id not in live:
            detail = f"it holds document {document_id}, which was deleted"
            yield Problem("snapshot_outlived", collection.id, detail, "snapshot")
        elif live[document_id] == generation:
            rows = session.execute(
                select(Chunk.id, Chunk.vector)
                .where(Chunk.document_id == document_id, Chunk.generation == generation)
                .order_by(Chunk.ordinal)
            ).all()
            if [row.id for row in rows] != [int(key) for key in ids]:
                detail = f"its rows of document {document_id} are not the chunks that the database has"
                yield Problem("snapshot_wrong", collection.id, detail, "snapshot")


def check_folder(session: Session, settings: Settings) -> Iterator[Problem]:
    """The folder of originals is marked as this store's: else nothing in it is ever cleared up."""
    folder: Path = settings.data_dir / "blobs"
    if any(folder.glob("doc_*")) and mark_of(folder) != identity_of(session):
        yield Problem("folder_unmarked", str(folder), "it is not marked as this store's", "mark")
