"""Restore: a backup or export becomes the store, on either kind of database, all of it or nothing."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa
from sqlalchemy.orm import Session

from ingest.blobs import STORE_MARK, mark, mark_of
from ingest.files import copy_durably, sync_folder
from ingest.keeping.backup_folder import BLOBS, PACKS, BackupFolder, Manifest
from ingest.keeping.portable import BackupDamaged, Part, Written, digest, load, read
from ingest.locks import folder_lock
from ingest.originals.choice import shared_originals
from rag.errors import Conflict, Unavailable
from rag.settings import Settings
from rag.store.migrate import known_revisions, move_to, refuse_foreign
from rag.store.session import Database

if TYPE_CHECKING:
    from ingest.originals.shared import SharedOriginals

_NAME = re.compile(r"doc_[0-9A-Za-z]{1,60}(\.[0-9]{1,9})?")
_UNFINISHED = "restore"
"""Stands in the mark of the folder of original files until their rows are committed."""


@dataclass(frozen=True, slots=True)
class RestoreReport:
    """What was brought in, and when and with which schema it had been written."""

    documents: int
    rows: int
    files: int
    bytes: int
    schema: str
    created_at: str


def restore(db: Database, settings: Settings, folder: Path) -> RestoreReport:
    """Make the empty store of `settings` what the backup in `folder` says; a failure leaves it as it was.

    The store gets an identity of its own. Raises BackupDamaged, Conflict (`store_not_empty`, `newer_backup`),
    Unmigrated for a database that is somebody else's, Unavailable, OSError.
    """
    source = BackupFolder(folder)
    manifest = source.manifest()
    if manifest is None:
        raise BackupDamaged(f"{folder} holds no backup")
    if manifest.schema not in known_revisions():
        raise Conflict(
            f"the backup has schema {manifest.schema}, which this Longleaf does not know; install the newer",
            code="newer_backup",
        )
    with folder_lock(settings.data_dir / "blobs.lock", exclusive=True):
        return _Run(db, settings, source, manifest).run()


class _Run:
    def __init__(self, db: Database, settings: Settings, source: BackupFolder, manifest: Manifest) -> None:
        self._db, self._settings, self._source, self._manifest = db, settings, source, manifest
        self._blobs = settings.data_dir / "blobs"
        self._lists: dict[str, dict[str, Written]] = {PACKS: {}, BLOBS: {}}
        self._brought: list[Path] = []
        self._sent: SharedOriginals | None = None

    def run(self) -> RestoreReport:
        self._refuse_files()
        try:
            with self._db.session() as session:
                rows, identity = self._fill(session)
                if self._settings.originals == "objects":
                    self._send_files(identity)
                else:
                    self._bring_files()
                move_to(session.connection(), "head")
        except BaseException:
            if self._sent is not None:
                with suppress(Unavailable):
                    self._sent.drop_all()
            for path in self._brought:
                path.unlink(missing_ok=True)
            with suppress(FileNotFoundError):
                (self._blobs / STORE_MARK).unlink()
            raise
        if self._sent is None:
            mark(self._blobs, identity)
        blobs = self._lists[BLOBS]
        return RestoreReport(
            documents=self._manifest.documents,
            rows=rows,
            files=len(blobs),
            bytes=sum(found.bytes for found in blobs.values()),
            schema=self._manifest.schema,
            created_at=self._manifest.created_at,
        )

    def _refuse_files(self) -> None:
        held = next(self._blobs.glob("doc_*"), None) if self._blobs.is_dir() else None
        if held is not None and mark_of(self._blobs) != _UNFINISHED:
            raise Conflict(
                f"{self._blobs} holds files of another store; name another folder in LONGLEAF_DATA_DIR",
                code="store_not_empty",
            )

    def _fill(self, session: Session) -> tuple[int, str]:
        """Bring the schema to that of the backup and load every row; gives their number and the identity."""
        connection = session.connection()
        refuse_foreign(connection)
        tables = sa.inspect(connection).get_table_names()
        for table in ("documents", "answers"):
            if table in tables and session.scalar(sa.select(sa.func.count()).select_from(sa.table(table))):
                shown = self._db.url.render_as_string(hide_password=True)
                raise Conflict(
                    f"the database {shown} is not empty; name a new one in LONGLEAF_DATABASE_URL",
                    code="store_not_empty",
                )
        if "store_state" in tables:  # a server that was started once has made its first rows
            move_to(connection, "base", down=True)
        move_to(connection, self._manifest.schema)
        state = sa.table("store_state", sa.column("identity"), sa.column("change_seq"))
        identity: str = session.scalars(sa.select(state.c.identity)).one()
        session.execute(sa.delete(sa.table("workspaces")))
        rows = 0
        for part in self._source.catalogue(self._manifest):
            if part.table in self._lists:
                found = self._lists[part.table]
                found.update((row["name"], Written(row["sha256"], row["bytes"])) for row in part.rows)
            elif part.table == "store_state":
                session.execute(sa.update(state).values(change_seq=next(iter(part.rows))["change_seq"]))
            else:
                rows += load(session, part)
        for name, pack in self._lists[PACKS].items():
            for part in read(self._source.pack(name), pack.sha256):
                rows += load(session, _allowed(part, name))
        self._continue_keys(session)
        return rows, identity

    def _continue_keys(self, session: Session) -> None:
        """Let the numbers of chunks go on above the highest that was ever given out."""
        key = self._manifest.chunk_key
        if key < 1:
            return
        if self._db.dialect == "sqlite":
            session.execute(sa.text("DELETE FROM sqlite_sequence WHERE name = 'chunks'"))
            session.execute(
                sa.text("INSERT INTO sqlite_sequence (name, seq) VALUES ('chunks', :key)"), {"key": key}
            )
        else:
            session.execute(
                sa.text("SELECT setval(pg_get_serial_sequence('chunks', 'id'), :key)"), {"key": key}
            )

    def _send_files(self, identity: str) -> None:
        """Bring the originals to the shared place, below the name that this store has from now on."""
        self._sent = shared_originals(self._db, self._settings, identity)
        for name, blob in self._named():
            source = self._source.blob(blob.sha256)
            try:
                if digest(source) != blob:
                    raise BackupDamaged(f"{source} is damaged: it has another digest")
                self._sent.put(name.partition(".")[0], blob.sha256, source)
            except FileNotFoundError as error:
                raise BackupDamaged(f"{error.filename} is missing") from error

    def _named(self) -> Iterator[tuple[str, Written]]:
        for name, blob in self._lists[BLOBS].items():
            if not _NAME.fullmatch(name):
                raise BackupDamaged(f"the backup names {name[:80]!r} as the file of a document")
            yield name, blob

    def _bring_files(self) -> None:
        self._blobs.mkdir(parents=True, exist_ok=True)
        mark(self._blobs, _UNFINISHED)
        for stale in self._blobs.glob("doc_*"):  # of a restore that was broken off
            stale.unlink()
        for name, blob in self._named():
            target = self._blobs / name
            self._brought.append(target)
            try:
                copy_durably(self._source.blob(blob.sha256), target)
            except FileNotFoundError as error:
                raise BackupDamaged(f"{error.filename} is missing") from error
            if digest(target) != blob:
                raise BackupDamaged(f"{self._source.blob(blob.sha256)} is damaged: it has another digest")
        sync_folder(self._blobs)


def _allowed(part: Part, name: str) -> Part:
    if part.table not in {"texts", "pages", "chunks"}:
        raise BackupDamaged(f"pack {name} holds rows of {part.table[:40]!r}")
    return part
