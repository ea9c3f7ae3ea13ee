"""Backup: the store as it was at one moment, written while others go on uploading and deleting.

First everything is brought in that is not there yet, document by document, each in a short snapshot. Then one
snapshot of the whole store is taken, in which little is left to do, so that nobody waits for a long one. A
document that is deleted before the end is left out, and what former runs kept of it is removed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from ingest.blobs import blob_name
from ingest.keeping.backup_folder import (
    BLOBS,
    FORMAT,
    PACKED,
    PACKS,
    VERSION,
    BackupFolder,
    Manifest,
    catalogue_tables,
    chunk_key,
    listed,
)
from ingest.keeping.portable import Part, Written, digest, part_of, write
from ingest.originals.choice import originals_of
from rag.errors import LongleafError, Unavailable
from rag.ids import new_id
from rag.recipe import release
from rag.settings import Settings
from rag.store.migrate import check, head_revision
from rag.store.records import FINAL_STATUSES, STATUSES
from rag.store.scope import utc_now
from rag.store.session import Database
from rag.store.state import identity_of
from rag.store.tables import AnswerSource, Base, Collection, Document, Version

_AT_WORK = frozenset(STATUSES) - FINAL_STATUSES
_AT_ONCE = datetime(1970, 1, 1, tzinfo=UTC)
_ATTEMPTS = 5
"""Snapshots that are tried while documents are replaced under our hands."""

Progress = Callable[[int, int], None]
"""Called with documents done and in all."""


@dataclass
class BackupReport:
    """What a run did. `damaged` names documents whose file is missing or has other bytes than it had."""

    documents: int = 0
    packs_written: int = 0
    blobs_written: int = 0
    bytes_written: int = 0
    removed: int = 0
    damaged: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Held:
    """A document as a snapshot shows it."""

    id: str
    generation: int
    tag: str
    files: tuple[tuple[int, str, int], ...]
    """Generation, digest and size of each of its original files."""

    @property
    def pack(self) -> str | None:
        return f"{self.id}.{self.generation}.{self.tag}.jsonl.gz" if self.generation else None


def backup(
    db: Database,
    settings: Settings,
    folder: Path,
    *,
    link: bool = False,
    on_progress: Progress = lambda done, total: None,  # noqa: ARG005
) -> BackupReport:
    """Bring the backup in `folder` up to date, or begin one; a run that is broken off leaves the last state.

    Original files are copied and their digests checked, or with `link` hard-linked where that can be done.
    Raises Unmigrated, Unavailable, InvalidRequest (`not_a_backup`), Conflict (`foreign_backup`), OSError.
    """
    check(db)
    with db.read() as session:
        store = identity_of(session)
    target = BackupFolder(folder)
    with target.claimed(store):
        return _Run(db, settings, target, store, link=link).run(on_progress)


class _Run:
    def __init__(
        self, db: Database, settings: Settings, target: BackupFolder, store: str, *, link: bool
    ) -> None:
        self._db, self._target, self._store = db, target, store
        self._link = link
        self._originals = originals_of(db, settings)
        self._report = BackupReport()
        former = target.manifest(missing_ok=True)
        self._known = target.lists(former)[0] if former else {}
        self._packs: dict[str, Written] = {}
        self._blobs: dict[str, Written] = {}

    def run(self, on_progress: Progress) -> BackupReport:
        with self._db.read() as session:
            held = list(_documents(session))
        for done, document in enumerate(held):
            on_progress(done, len(held))
            with self._db.read() as session:
                self._take(session, document)
        for _ in range(_ATTEMPTS):
            manifest = self._settle()
            if manifest is not None:
                break
        else:
            raise Unavailable(
                "documents were replaced faster than they could be copied; run the backup again",
                code="backup_overtaken",
            )
        on_progress(len(held), len(held))
        self._target.replace(manifest)
        blobs = {found.sha256 for found in self._blobs.values()}
        self._report.removed = self._target.clear(manifest, set(self._packs), blobs)
        return self._report

    def _take(self, session: Session, document: _Held) -> bool:
        """Bring one document in; False when one of its files is not there or is not what it was."""
        if document.pack and document.pack not in self._packs and _is_there(session, document):
            self._packs[document.pack] = self._pack(session, document, document.pack)
        whole = True
        for generation, sha256, size in document.files:
            name = blob_name(document.id, generation)
            bring = partial(self._originals.copy, document.id, generation, link=self._link)
            try:
                written = self._target.take_blob(bring, sha256, size)
            except FileNotFoundError:
                whole = False
                continue
            except LongleafError as error:
                if error.code != "file_damaged":
                    raise
                whole = False
                continue
            if written is None:
                whole = False
                continue
            self._blobs[name] = Written(sha256, size)
            self._report.blobs_written += written > 0
            self._report.bytes_written += written
        return whole

    def _pack(self, session: Session, document: _Held, name: str) -> Written:
        path = self._target.pack(name)
        if path.is_file():
            return self._known.get(name) or digest(path)
        tables = Base.metadata.tables
        parts = (
            part_of(
                session,
                tables[table],
                tables[table].c.document_id == document.id,
                tables[table].c.generation == document.generation,
            )
            for table in PACKED
        )
        written = write(path, parts)
        self._report.packs_written += 1
        self._report.bytes_written += written.bytes
        return written

    def _settle(self) -> Manifest | None:
        """Write the catalogue of one snapshot; None when documents changed while their files were taken."""
        with self._db.read() as session:
            held = list(_documents(session))
            broken = [document for document in held if not self._take(session, document)]
            with self._db.read() as later:
                now = {found.id: found for found in _documents(later)}
            if any(found.id in now and now[found.id] != found for found in broken):
                return None
            self._report.damaged = [found.id for found in broken if found.id in now]
            kept = [document for document in held if document.id in now]
            gone = {document.id for document in held} - set(now)
            self._keep_only(kept)
            self._report.documents = len(kept)
            name = f"catalogue.{new_id('cat')}.jsonl.gz"
            written = write(self._target.path / name, self._catalogue(session, gone))
            self._report.bytes_written += written.bytes
            return Manifest(
                format=FORMAT,
                version=VERSION,
                schema=head_revision(),
                store=self._store,
                release=release(),
                created_at=utc_now().isoformat(timespec="seconds"),
                chunk_key=chunk_key(session),
                documents=len(kept),
                catalogue=name,
                catalogue_sha256=written.sha256,
            )

    def _keep_only(self, documents: Iterable[_Held]) -> None:
        packs, names = set[str | None](), set[str]()
        for document in documents:
            packs.add(document.pack)
            names.update(blob_name(document.id, generation) for generation, *_ in document.files)
        self._packs = {name: found for name, found in self._packs.items() if name in packs}
        self._blobs = {name: found for name, found in self._blobs.items() if name in names}

    def _catalogue(self, session: Session, gone: set[str]) -> Iterator[Part]:
        touched = select(AnswerSource.answer_id).where(AnswerSource.source_id.in_(gone))
        wordless = set(session.scalars(touched)) if gone else set[str]()
        for table in catalogue_tables():
            part = part_of(session, table)
            yield Part(part.table, part.columns, _at_rest(part, gone, wordless))
        yield listed(PACKS, self._packs)
        yield listed(BLOBS, self._blobs)


def _documents(session: Session) -> Iterator[_Held]:
    """Every document of every workspace with its files, as the snapshot shows it."""
    files: dict[str, list[tuple[int, str, int]]] = {}
    query = (
        select(Version.document_id, Version.generation, Version.sha256, Version.bytes, Document.generation)
        .join(Document, Document.id == Version.document_id)
        .where(Version.status != "superseded")
        .order_by(Version.generation)
    )
    for document_id, generation, sha256, size, live in session.execute(query):
        if generation >= live:
            files.setdefault(document_id, []).append((generation, sha256, size))
    schema = head_revision()
    rows = session.execute(
        select(Document.id, Document.generation, Document.updated_at, Collection.embedder)
        .join(Collection, Collection.id == Document.collection_id)
        .order_by(Document.id)
    )
    for document_id, generation, updated_at, embedder in rows:
        yield _Held(
            document_id, generation, _tag(schema, embedder, updated_at), tuple(files.get(document_id, ()))
        )


def _tag(schema: str, embedder: str, updated_at: datetime) -> str:
    """What else a pack depends on: it is written anew when one of these is another."""
    return hashlib.sha256(f"{schema}\0{embedder}\0{updated_at.isoformat()}".encode()).hexdigest()[:12]


def _is_there(session: Session, document: _Held) -> bool:
    found = select(Document.generation).where(Document.id == document.id)
    return session.scalar(found) == document.generation


def _at_rest(part: Part, gone: set[str], wordless: set[str]) -> Iterator[dict[str, Any]]:
    """The rows as another process is to find them: work in progress is queued, what was deleted is gone."""
    own = "id" if part.table == "documents" else "document_id"
    for row in part.rows:
        if part.table != "changes" and row.get(own) in gone:
            continue
        if part.table in {"documents", "versions"} and row["status"] in _AT_WORK:
            row["status"] = "queued"
        elif part.table == "ingest_jobs" and row["status"] == "running":
            row |= {
                "status": "queued",
                "attempts": 0,
                "lease_owner": None,
                "lease_until": None,
                "not_before": _AT_ONCE,
            }
        elif part.table == "answers" and row["id"] in wordless:
            row["words"] = None
        elif part.table == "collections":
            row["next_embedder"] = None
        yield row
