"""Repair: what can be derived is derived again; what can't is left as it is, and named."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from sqlalchemy import func, select, update

from ingest import jobs
from ingest.blobs import mark
from ingest.embedding import batches
from ingest.keeping.findings import Problem
from ingest.originals.choice import originals_of
from rag.embedders.base import Embedder
from rag.errors import LongleafError
from rag.index.live import snapshot_folder
from rag.index.snapshot import drop
from rag.settings import Settings
from rag.store.repositories import Changes, Collections, Documents, Generations, Versions
from rag.store.repositories.chunks import chunk_record
from rag.store.scope import Scope
from rag.store.session import Database
from rag.store.state import identity_of
from rag.store.tables import Answer, Change, Chunk, Document, Page, StoreState, Version


@dataclass
class Repair:
    """What became of each problem. `queued` names documents that a worker will read again."""

    cured: list[Problem] = field(default_factory=list)
    left: list[Problem] = field(default_factory=list)
    queued: list[str] = field(default_factory=list)


def repair(
    db: Database, settings: Settings, problems: Sequence[Problem], embedder: Callable[[], Embedder]
) -> Repair:
    """Cure what has a cure, vectors first, since reading anew takes over those of chunks that are the same.

    `embedder` is asked for only where vectors are to be made; those of a collection that is bound to another
    one are left. Raises Unavailable, OSError.
    """
    done = Repair()
    work = _Work(db, settings, embedder, done)
    broken_files = {p.subject for p in problems if p.code.startswith("file_")}
    broken_texts = {p.subject for p in problems if p.code == "text_broken"}
    cures: Mapping[str, Callable[[Problem], bool]] = {
        "vectors": lambda p: p.subject not in broken_texts and work.vectors(p),
        "counters": work.counters,
        "owner": work.owner,
        "withdraw": work.withdraw,
        "log": work.log,
        "job": lambda p: p.subject not in broken_files and work.job(p),
        "reread": lambda p: p.subject not in broken_files and work.reread(p),
        "snapshot": work.snapshot,
        "mark": lambda p: not broken_files and work.mark(p),
    }
    for name, cure in cures.items():
        for problem in problems:
            if problem.cure == name:
                try:
                    cured = cure(problem)
                except LongleafError:  # deleted meanwhile, or its embedder is not here
                    cured = False
                (done.cured if cured else done.left).append(problem)
    done.left += [problem for problem in problems if problem.cure is None]
    return done


class _Work:
    def __init__(
        self, db: Database, settings: Settings, embedder: Callable[[], Embedder], done: Repair
    ) -> None:
        self._db, self._settings, self._embedder, self._done = db, settings, embedder, done

    def vectors(self, problem: Problem) -> bool:
        """Embed every chunk of the document again."""
        scope, document_id = _scope(problem), problem.subject
        with self._db.read() as session:
            document = Documents(session, scope).get(document_id)
            bound = Collections(session, scope).get(document.collection_id).embedder
            title = Versions(session, scope).get(document_id, document.generation).title
            query = select(Chunk).where(
                Chunk.document_id == document_id, Chunk.generation == document.generation
            )
            rows = [chunk_record(row) for row in session.scalars(query.order_by(Chunk.ordinal))]
            texts = Documents(session, scope).text_slices(document_id, [(r.start, r.end) for r in rows])
        embedder = self._embedder()
        if embedder.fingerprint != bound:
            return False
        made = {
            row.id: vector.astype(np.float16)
            for some, inputs in batches(rows, texts, title)
            for row, vector in zip(some, embedder.embed_passages(inputs), strict=True)
        }
        with self._db.session() as session:
            if Documents(session, scope).lock(document_id).generation != document.generation:
                return False  # it was replaced meanwhile, and with it what was wrong
            Generations(session, scope).write_vectors(document_id, document.generation, made)
            Documents(session, scope).set(document_id, chunks_done=len(rows), chunks_total=len(rows))
            Changes(session, scope).rebuild(document.collection_id)
        drop(snapshot_folder(self._settings, document.collection_id))
        return True

    def counters(self, problem: Problem) -> bool:
        """Count pages and chunks."""
        scope, document_id = _scope(problem), problem.subject
        with self._db.session() as session:
            document = Documents(session, scope).lock(document_id)
            counted = [
                session.scalar(
                    select(func.count()).where(
                        table.document_id == document_id, table.generation == document.generation
                    )
                )
                or 0
                for table in (Page, Chunk)
            ]
            values = {
                "pages_done": counted[0],
                "pages_total": counted[0],
                "chunks_done": counted[1],
                "chunks_total": counted[1],
            }
            for row, key in ((Document, Document.id), (Version, Version.document_id)):
                mine = [key == document_id]
                if row is Version:
                    mine.append(Version.generation == document.generation)
                session.execute(update(row).where(*mine).values(**values))
        return True

    def owner(self, problem: Problem) -> bool:
        """Let chunks name the collection of their document."""
        with self._db.session() as session:
            document = Documents(session, _scope(problem)).lock(problem.subject)
            session.execute(
                update(Chunk)
                .where(Chunk.document_id == document.id)
                .values(collection_id=document.collection_id)
            )
        return True

    def withdraw(self, problem: Problem) -> bool:
        """Take the words of an answer whose sources are gone."""
        with self._db.session() as session:
            session.execute(update(Answer).where(Answer.id == problem.subject).values(words=None))
        self._db.scrub()
        return True

    def log(self, problem: Problem) -> bool:
        """Note what is live, after the counter was brought up to the last entry."""
        with self._db.session() as session:
            newest = session.scalar(select(func.max(Change.seq))) or 0
            session.execute(
                update(StoreState).where(StoreState.change_seq < newest).values(change_seq=newest)
            )
            if problem.workspace_id is not None:
                document = Documents(session, _scope(problem)).lock(problem.subject)
                changes = Changes(session, _scope(problem))
                changes.append(document.collection_id, document.id, document.generation, "publish")
        return True

    def job(self, problem: Problem) -> bool:
        """Queue each version that is to be read and has no job."""
        scope, document_id = _scope(problem), problem.subject
        with self._db.session() as session:
            Documents(session, scope).lock(document_id)
            newest = Versions(session, scope).get(document_id, Versions(session, scope).newest(document_id))
            jobs.enqueue(session, scope, document_id, newest.generation, size=newest.bytes)
            Versions(session, scope).advance(document_id, newest.generation, status="queued")
        self._done.queued.append(document_id)
        return True

    def reread(self, problem: Problem) -> bool:
        """Read the same file as a new generation; the old one answers until that is ready."""
        scope, document_id = _scope(problem), problem.subject
        if document_id in self._done.queued:
            return True
        originals = originals_of(self._db, self._settings)
        with originals.writing(), self._db.session() as session:
            document = Documents(session, scope).lock(document_id)
            # its chunks are in doubt, so none of their vectors may be taken over
            session.execute(update(Chunk).where(Chunk.document_id == document_id).values(digest=None))
            versions = Versions(session, scope)
            own = versions.get(document_id, document.generation)
            jobs.supersede(session, scope, document_id)
            new = versions.add(
                document_id, filename=own.filename, title=own.title, sha256=own.sha256, size=own.bytes
            )
            jobs.enqueue(session, scope, document_id, new.generation, size=own.bytes)
            originals.again(document_id, own.generation, new.generation)
        self._done.queued.append(document_id)
        return True

    def snapshot(self, problem: Problem) -> bool:
        """Remove a stored index."""
        drop(snapshot_folder(self._settings, problem.subject))
        return True

    def mark(self, problem: Problem) -> bool:  # noqa: ARG002 (there is one such folder)
        """Claim the folder of originals, in which every one of this store's was found."""
        folder = self._settings.data_dir / "blobs"
        with self._db.read() as session:
            identity = identity_of(session)
        mark(folder, identity)
        return True


def _scope(problem: Problem) -> Scope:
    return Scope(problem.workspace_id or "")


def codes(problems: Iterable[Problem]) -> list[str]:
    """Which problems there are, each once, by name."""
    return sorted({problem.code for problem in problems})
