"""Verify: everything that can be checked, named where it is wrong; the service may go on meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.exc import DatabaseError
from sqlalchemy.orm import Session

from ingest.keeping.backup_folder import BackupFolder
from ingest.keeping.check_document import Lengths, check_content, check_file, vector_lengths
from ingest.keeping.check_store import (
    DATABASE_FILE,
    check_answers,
    check_database,
    check_folder,
    check_jobs,
    check_log,
    check_snapshot,
)
from ingest.keeping.findings import Problem
from ingest.keeping.portable import BackupDamaged, digest
from ingest.originals.choice import originals_of
from ingest.originals.port import Originals
from rag.settings import Settings
from rag.store.migrate import check
from rag.store.session import Database
from rag.store.tables import Collection, Document, Version

Progress = Callable[[int, int], None]
"""Called with documents done and in all."""


@dataclass
class Checked:
    """What was looked at, and what is wrong with it."""

    documents: int = 0
    files: int = 0
    problems: list[Problem] = field(default_factory=list)


def verify(
    db: Database,
    settings: Settings,
    on_progress: Progress = lambda done, total: None,  # noqa: ARG005
) -> Checked:
    """Check the whole store, document by document, each in a snapshot of its own.

    Raises Unmigrated, Unavailable, OSError.
    """
    check(db)
    checked = Checked()
    try:
        with db.read() as session:
            checked.problems += check_database(session)
    except DatabaseError as error:  # damage that SQLite can't read past
        checked.problems.append(Problem("database_damaged", DATABASE_FILE, str(error.orig)))
    if any(problem.subject == DATABASE_FILE for problem in checked.problems):
        return checked  # whatever else its pages say is not to be believed; only a backup helps
    with db.read() as session:
        for found in (check_log, check_jobs, check_answers):
            checked.problems += found(session)
        checked.problems += check_folder(session, settings)
        ids = list(session.scalars(select(Document.id).order_by(Document.id)))
        collections = list(session.scalars(select(Collection.id).order_by(Collection.id)))
        lengths = vector_lengths(session)
    for collection_id in collections:
        with db.read() as session:
            collection = session.get(Collection, collection_id)
            if collection is not None:
                checked.problems += check_snapshot(session, settings, collection)
    originals = originals_of(db, settings)
    for done, document_id in enumerate(ids):
        on_progress(done, len(ids))
        _document(db, originals, document_id, lengths, checked)
    on_progress(len(ids), len(ids))
    return checked


def _document(
    db: Database, originals: Originals, document_id: str, lengths: Lengths, checked: Checked
) -> None:
    with db.read() as session:
        document = session.get(Document, document_id)
        if document is None:
            return
        versions = _needed(session, document)
        problems = list(check_content(session, document, lengths))
    for version in versions:
        problems += check_file(originals, document, version)
    if any(problem.code.startswith("file_") for problem in problems):
        # it may have been deleted, or have become another version, since it was looked up
        with db.read() as session:
            now = session.get(Document, document_id)
            if now is None or {v.generation for v in _needed(session, now)} != {
                v.generation for v in versions
            }:
                return
    checked.documents += 1
    checked.files += len(versions)
    checked.problems += problems


def _needed(session: Session, document: Document) -> list[Version]:
    """The versions whose originals are kept: the live one, and newer ones that may still be read."""
    query = select(Version).where(
        Version.document_id == document.id,
        Version.generation >= document.generation,
        Version.status != "superseded",
    )
    return list(session.scalars(query.order_by(Version.generation)))


def verify_backup(folder: Path) -> Checked:
    """Check every file of a backup against what was noted of it. Raises BackupDamaged for the manifest."""
    target = BackupFolder(folder)
    manifest = target.manifest()
    if manifest is None:
        raise BackupDamaged(f"{folder} holds no backup")
    checked = Checked(documents=manifest.documents)
    packs, blobs = target.lists(manifest)
    noted = {target.pack(name): found for name, found in packs.items()}
    noted |= {target.blob(found.sha256): found for found in blobs.values()}
    for path, found in noted.items():
        checked.files += 1
        checked.problems += _noted(path, found.sha256)
    return checked


def _noted(path: Path, sha256: str) -> Iterator[Problem]:
    try:
        if digest(path).sha256 == sha256:
            return
        detail = "its digest is not the one that was noted"
    except FileNotFoundError:
        detail = "it is missing"
    yield Problem("backup_damaged", str(path), detail)
