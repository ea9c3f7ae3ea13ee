"""The stored originals: where each lies, and which are no longer anybody's."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from sqlalchemy import inspect, select
from sqlalchemy.orm import Session

from ingest.files import sync_folder
from ingest.locks import folder_lock, remove_if_dead
from rag.errors import NotFound, Unavailable
from rag.ids import new_id
from rag.settings import Settings
from rag.store.repositories import Versions
from rag.store.scope import Scope
from rag.store.session import Database
from rag.store.state import identity_of
from rag.store.tables import Document, StoreState, Version

log = logging.getLogger(__name__)

_AT_ONCE = 500
STORE_MARK = ".store"
"""File in the folder of originals that holds the identity of the store which they belong to."""


def blob_name(document_id: str, generation: int) -> str:
    """What the original of a generation is called, in the folder and in a backup."""
    return document_id if generation == 1 else f"{document_id}.{generation}"


def blob_path(settings: Settings, document_id: str, generation: int = 1) -> Path:
    """Where the original bytes of a generation of a document lie."""
    return settings.data_dir / "blobs" / blob_name(document_id, generation)


def drop_old_files(db: Database, settings: Settings, scope: Scope, document_id: str) -> list[int]:
    """Remove the originals of generations that a newer one replaced; returns which were there.

    Those of the live generation, and of a newer one that may still be read, stay.
    """
    with db.read() as session:
        try:
            sent = {row.generation for row in Versions(session, scope).list(document_id)}
        except NotFound:
            return []
        kept = kept_generations(session, [document_id])[document_id]
    dropped = []
    for generation in sorted(sent - kept):
        path = blob_path(settings, document_id, generation)
        if path.exists():
            path.unlink(missing_ok=True)
            dropped.append(generation)
    return dropped


def sweep(db: Database, settings: Settings) -> list[str]:
    """Remove what a crash left: uploads of dead processes and files without a document; returns their names.

    Run it when a process starts; others may be at work. Files are left alone when the folder belongs to
    another database, for then every one would seem to lack its document.
    """
    removed = [
        path.name for path in sorted((settings.data_dir / "tmp").glob("upload_*")) if remove_if_dead(path)
    ]
    folder = settings.data_dir / "blobs"
    if not folder.is_dir():
        return removed
    with folder_lock(settings.data_dir / "blobs.lock", exclusive=True):
        with db.read() as session:
            identity = identity_of(session)
        if mark_of(folder) != identity:
            log.warning("%s belongs to another database; nothing in it is removed", folder)
            return removed
        for name in unneeded(db, folder):
            (folder / name).unlink(missing_ok=True)
            removed.append(name)
        sync_folder(folder)
    return removed


def claim_folder(db: Database, settings: Settings) -> None:
    """Mark the folder as this database's when it is new or empty."""
    folder = settings.data_dir / "blobs"
    folder.mkdir(parents=True, exist_ok=True)
    with db.glance() as session:
        identity = identity_of(session)
    if mark_of(folder) != identity and not any(folder.glob("doc_*")):
        mark(folder, identity)


def mark_of(folder: Path) -> str | None:
    """The identity of the store that a folder of originals belongs to; None where it does not say."""
    try:
        return (folder / STORE_MARK).read_text()
    except FileNotFoundError:
        return None


def mark(folder: Path, identity: str) -> None:
    """Say whose the folder is, durably."""
    draft = folder / new_id(STORE_MARK)
    draft.write_text(identity)
    os.replace(draft, folder / STORE_MARK)
    sync_folder(folder)


def refuse_foreign_folder(db: Database, settings: Settings) -> None:
    """Ask before the database is opened whether the folder's documents are its own; a start without them, or
    on a database that is missing, would go on as if they had never been.

    Raises Unavailable (`foreign_folder`; `database_unavailable` when the database does not answer).
    """
    folder = settings.data_dir / "blobs"
    owner = mark_of(folder)
    if owner is None or not any(folder.glob("doc_*")):
        return
    if _identity_of(db) != owner:
        raise Unavailable(
            f"{folder} holds documents of another database than {db.url.render_as_string()}; put that "
            "database back, name it in LONGLEAF_DATABASE_URL, or name another folder in LONGLEAF_DATA_DIR",
            code="foreign_folder",
        )


def _identity_of(db: Database) -> str | None:
    """The identity of the store, None where there is none; a SQLite file is not made by asking."""
    if db.dialect == "sqlite" and not Path(str(db.url.database)).exists():
        return None
    with db.read() as session:
        if not inspect(session.connection()).has_table(StoreState.__tablename__):
            return None
        return session.scalar(select(StoreState.identity))


def unneeded(db: Database, folder: Path) -> Iterator[str]:
    """Names of the originals in the folder that belong to no generation which is shown or may be read yet."""
    names = sorted(path.name for path in folder.glob("doc_*"))
    for first in range(0, len(names), _AT_ONCE):
        some = names[first : first + _AT_ONCE]
        with db.read() as session:
            kept = kept_generations(session, {name.partition(".")[0] for name in some})
        for name in some:
            document_id, _, suffix = name.partition(".")
            generation = 1 if name == document_id else int(suffix) if suffix.isdecimal() else 0
            if generation not in kept.get(document_id, set()):
                yield name


def kept_generations(session: Session, document_ids: Iterable[str]) -> dict[str, set[int]]:
    """Generations whose originals are needed, by document: what is shown, and what may still be read."""
    wanted = sorted(document_ids)
    live = {
        row.id: row.generation
        for row in session.execute(select(Document.id, Document.generation).where(Document.id.in_(wanted)))
    }
    kept = {document_id: {generation or 1} for document_id, generation in live.items()}
    newer = select(Version.document_id, Version.generation).where(
        Version.document_id.in_(live), Version.status != "superseded"
    )
    for document_id, generation in session.execute(newer):
        if generation > live[document_id]:
            kept[document_id].add(generation)
            if live[document_id] == 0 and generation > 1:
                kept[document_id].discard(1)
    return kept
