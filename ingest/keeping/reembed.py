"""Another embedder for a collection: its vectors are built beside those in use and take their place at once.

Until then every search goes on with the old ones. What is built survives a stop, a crash and a restart, and
whoever begins again for the same embedder goes on with it. Documents that come or change meanwhile are
included: the exchange happens only in a transaction in which no live chunk lacks its new vector.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from sqlalchemy import CursorResult, and_, delete, func, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from ingest import jobs
from ingest.embedding import WINDOW, batches
from ingest.errors import Stopped
from rag.embedders.base import Embedder
from rag.errors import Conflict, NotFound
from rag.index.live import snapshot_folder
from rag.index.snapshot import drop
from rag.settings import Settings
from rag.store.records import ChunkRow
from rag.store.repositories import Changes, Collections
from rag.store.repositories.chunks import chunk_record
from rag.store.repositories.texts import read_slices
from rag.store.scope import Scope
from rag.store.session import Database
from rag.store.tables import Chunk, Collection, Document, NextVector, Version


class _Lacking(Exception):
    """A live chunk has no new vector yet."""


@dataclass(frozen=True, slots=True)
class Reembedding:
    """How far the vectors of `embedder` are for a collection's live chunks."""

    embedder: str
    done: int
    total: int


def progress(session: Session, scope: Scope, collection_id: str) -> Reembedding | None:
    """How far another embedder is, None where none is on its way. Raises NotFound."""
    embedder = Collections(session, scope).get(collection_id).next_embedder
    if embedder is None:
        return None
    done = select(func.count()).where(
        NextVector.collection_id == collection_id, NextVector.embedder == embedder
    )
    total = select(func.count()).select_from(Chunk).join(Document, _live(collection_id))
    return Reembedding(embedder, session.scalar(done) or 0, session.scalar(total) or 0)


def reembed(
    db: Database,
    settings: Settings,
    scope: Scope,
    collection_id: str,
    embedder: Embedder,
    *,
    stopped: Callable[[], bool] = lambda: False,
    on_progress: Callable[[int, int], None] = lambda done, total: None,  # noqa: ARG005
) -> int:
    """Give a collection the vectors of `embedder`; returns how many chunks were embedded by this call.

    What is there of another embedder that was begun before is dropped; a collection that has this one already
    is left as it is. Several may work at it. Raises NotFound, Stopped, Unavailable.
    """
    if not _begin(db, scope, collection_id, embedder.fingerprint):
        return 0
    made = 0
    while True:
        with db.read() as session:
            state = progress(session, scope, collection_id)
            ids = list(session.scalars(_documents(collection_id)))
        if state is None or state.embedder != embedder.fingerprint:
            return made  # another one has finished, or begun with a third embedder
        done = state.done
        for document_id in ids:
            for rows, inputs in _pending(db, document_id):
                if stopped():
                    raise Stopped
                on_progress(done, max(done, state.total))
                vectors = embedder.embed_passages(inputs)
                with db.session() as session:
                    _keep(session, collection_id, embedder.fingerprint, rows, vectors)
                done, made = done + len(rows), made + len(rows)
        if stopped():
            raise Stopped
        if _exchange(db, settings, scope, collection_id, embedder.fingerprint):
            on_progress(done, done)
            return made


def cancel(db: Database, scope: Scope, collection_id: str) -> int:
    """Give up what was begun; returns how many vectors are dropped. Raises NotFound."""
    with db.session() as session:
        Collections(session, scope).lock(collection_id)
        return _drop_begun(session, collection_id, None)


def _begin(db: Database, scope: Scope, collection_id: str, embedder: str) -> bool:
    """Note the embedder that is to come; False when the collection has it."""
    with db.session() as session:
        collection = Collections(session, scope).lock(collection_id)
        if collection.embedder == embedder:
            _drop_begun(session, collection_id, None)
            return False
        if collection.next_embedder != embedder:
            _drop_begun(session, collection_id, embedder)
        return True


def _drop_begun(session: Session, collection_id: str, embedder: str | None) -> int:
    dropped = session.execute(delete(NextVector).where(NextVector.collection_id == collection_id))
    session.execute(update(Collection).where(Collection.id == collection_id).values(next_embedder=embedder))
    return cast("CursorResult[Any]", dropped).rowcount


def _documents(collection_id: str) -> Any:
    return (
        select(Document.id)
        .where(Document.collection_id == collection_id, Document.generation > 0)
        .order_by(Document.id)
    )


def _live(collection_id: str) -> Any:
    return and_(
        Document.id == Chunk.document_id,
        Document.generation == Chunk.generation,
        Document.collection_id == collection_id,
    )


def _pending(db: Database, document_id: str) -> Iterator[tuple[list[ChunkRow], list[str]]]:
    """Batches of a document's live chunks without a new vector, with what is to be embedded for each."""
    last = -1
    while True:
        with db.read() as session:
            query = (
                select(Chunk, func.coalesce(Version.title, Document.title))
                .join(Document, and_(Document.id == document_id, Document.generation == Chunk.generation))
                .outerjoin(
                    Version,
                    and_(Version.document_id == document_id, Version.generation == Document.generation),
                )
                .outerjoin(NextVector, NextVector.chunk_id == Chunk.id)
                .where(Chunk.document_id == document_id, Chunk.ordinal > last, NextVector.chunk_id.is_(None))
                .order_by(Chunk.ordinal)
                .limit(WINDOW)
            )
            found = [(chunk_record(chunk), title) for chunk, title in session.execute(query)]
            if not found:
                return
            rows = [row for row, _ in found]
            spans = [(row.start, row.end) for row in rows]
            texts = read_slices(session, document_id, rows[0].generation, spans)
        last = rows[-1].ordinal
        yield from batches(rows, texts, found[0][1])


def _keep(
    session: Session, collection_id: str, embedder: str, rows: Sequence[ChunkRow], vectors: np.ndarray
) -> None:
    """Store new vectors of those chunks that are there still, while the embedder is still the one to come."""
    wanted = select(Collection.next_embedder).where(Collection.id == collection_id).with_for_update(read=True)
    if session.scalar(wanted) != embedder:
        return
    keys = [row.id for row in rows]
    there = set(session.scalars(select(Chunk.id).where(Chunk.id.in_(keys)).with_for_update(read=True)))
    values = [
        {
            "chunk_id": row.id,
            "collection_id": collection_id,
            "embedder": embedder,
            "vector": vector.astype(np.float16).tobytes(),
        }
        for row, vector in zip(rows, vectors, strict=True)
        if row.id in there
    ]
    if values:
        dialect = sqlite if session.get_bind().dialect.name == "sqlite" else postgresql
        session.execute(dialect.insert(NextVector).on_conflict_do_nothing(), values)


def _exchange(db: Database, settings: Settings, scope: Scope, collection_id: str, embedder: str) -> bool:
    """Put the new vectors in place of the old; False when a live chunk lacks one by now.

    Every document is locked meanwhile, so that nothing is published. What is being read with the old embedder
    loses its vectors: its worker can neither store more nor publish, and the next attempt makes others.
    """
    try:
        with db.session() as session:
            _swap(session, scope, collection_id, embedder)
    except _Lacking:
        return False
    drop(snapshot_folder(settings, collection_id))
    return True


def _swap(session: Session, scope: Scope, collection_id: str, embedder: str) -> None:
    collection = Collections(session, scope).lock(collection_id)
    if collection.next_embedder != embedder:
        return  # done, or given up, by another
    locked = select(Document.id).where(Document.collection_id == collection_id).order_by(Document.id)
    session.execute(locked.with_for_update()).all()
    lacking = (
        select(func.count())
        .select_from(Chunk)
        .join(Document, _live(collection_id))
        .outerjoin(NextVector, and_(NextVector.chunk_id == Chunk.id, NextVector.embedder == embedder))
        .where(NextVector.chunk_id.is_(None))
    )
    if session.scalar(lacking):
        raise _Lacking
    ids = select(Document.id).where(Document.collection_id == collection_id)
    session.execute(
        update(Chunk)
        .where(Chunk.document_id.in_(ids), ~Chunk.id.in_(_new(collection_id)), Chunk.vector.is_not(None))
        .values(vector=None)
        .execution_options(synchronize_session=False)
    )
    session.execute(
        update(Chunk)
        .where(Chunk.id == NextVector.chunk_id, NextVector.collection_id == collection_id)
        .values(vector=NextVector.vector)
        .execution_options(synchronize_session=False)
    )
    session.execute(
        update(Collection).where(Collection.id == collection_id).values(embedder=embedder, next_embedder=None)
    )
    session.execute(delete(NextVector).where(NextVector.collection_id == collection_id))
    Changes(session, scope).rebuild(collection_id)


def requeue_refused(db: Database, embedder: str) -> list[str]:
    """Queue again what failed because its collection had got this embedder and its worker had another.

    Returns the documents' ids. To be called where a worker with this embedder starts.
    """
    refused = (
        select(Document.id, Document.workspace_id)
        .join(Collection, Collection.id == Document.collection_id)
        .join(Version, Version.document_id == Document.id)
        .where(
            Collection.embedder == embedder,
            Version.status == "failed",
            Version.error_code == "embedder_mismatch",
            Version.generation > Document.generation,
        )
    )
    with db.read() as session:
        found = session.execute(refused.order_by(Document.id)).all()
    queued = []
    for document_id, workspace_id in found:
        with suppress(Conflict, NotFound):  # deleted, or retried by somebody, since
            jobs.retry(db, Scope(workspace_id), document_id)
            queued.append(document_id)
    return queued


def _new(collection_id: str) -> Any:
    return select(NextVector.chunk_id).where(NextVector.collection_id == collection_id)
