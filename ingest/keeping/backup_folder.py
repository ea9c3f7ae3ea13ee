"""The folder of a backup: which files it has, which of them the manifest names, and how a new state replaces
the one before.

    manifest.json                       names the catalogue; replaced last, by one rename
    catalogue.<id>.jsonl.gz             every small table, and the lists of packs and blobs
    documents/<document>.<generation>.<tag>.jsonl.gz   a pack: text, pages and chunks of a live generation
    blobs/<sha256>                      original bytes, once each

What the manifest does not lead to does not count, and is removed by the next run that ends well.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from ingest.files import sync_folder
from ingest.keeping.portable import BackupDamaged, Part, Written, digest, read
from ingest.locks import folder_lock
from rag.errors import Conflict, InvalidRequest
from rag.ids import new_id
from rag.store.tables import Base

FORMAT = "longleaf-portable"
VERSION = 1
PACKS, BLOBS = "_packs", "_blobs"
"""Names under which the lists stand in the catalogue, beside the tables."""

PACKED = ("texts", "pages", "chunks")
"""Tables whose rows lie in packs, those of the live generation alone."""
LEFT_OUT = frozenset({"next_vectors", "rate_buckets", "sign_ins", "webhook_deliveries"})
"""Tables that are made anew: vectors of an embedder that is not in use yet, what is left of allowances,
browsers that are signed in, messages that a copy of this store must not send once more."""

_OURS = re.compile(r"manifest\.json|catalogue\..+|documents|blobs|lock|\..+")
_BLOB = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a backup says of itself. `chunk_key` is the highest key that a chunk was ever given."""

    format: str
    version: int
    schema: str
    store: str
    release: str
    created_at: str
    chunk_key: int
    documents: int
    catalogue: str
    catalogue_sha256: str


def catalogue_tables() -> list[sa.Table]:
    """The tables whose rows stand in the catalogue, those that others refer to first."""
    return [t for t in Base.metadata.sorted_tables if t.name not in LEFT_OUT and t.name not in PACKED]


class BackupFolder:
    """One backup, in a folder of its own."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @contextmanager
    def claimed(self, store: str) -> Iterator[None]:
        """Hold the folder for writing the backup of `store`.

        Raises InvalidRequest (`not_a_backup`) where it holds other files, Conflict (`foreign_backup`) where
        it holds the backup of another store, OSError.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        strange = sorted(entry.name for entry in self.path.iterdir() if not _OURS.fullmatch(entry.name))
        if strange:
            raise InvalidRequest(
                f"{self.path} holds other files, such as {strange[0]!r}; name an empty folder or a backup",
                code="not_a_backup",
            )
        with folder_lock(self.path / "lock", exclusive=True):
            former = self.manifest(missing_ok=True)
            if former is not None and former.store != store:
                raise Conflict(
                    f"{self.path} holds the backup of another store, made {former.created_at}; name another "
                    "folder",
                    code="foreign_backup",
                )
            for name in ("documents", "blobs"):
                (self.path / name).mkdir(exist_ok=True)
            yield

    def manifest(self, *, missing_ok: bool = False) -> Manifest | None:
        """What the backup says of itself; None without one, where that is allowed. Raises BackupDamaged."""
        try:
            said = json.loads((self.path / "manifest.json").read_text("utf-8"))
        except FileNotFoundError:
            if missing_ok:
                return None
            raise BackupDamaged(f"{self.path} holds no backup: there is no manifest.json in it") from None
        except (OSError, ValueError) as error:
            raise BackupDamaged(f"{self.path / 'manifest.json'} can't be read: {error}") from error
        if not isinstance(said, dict) or said.get("format") != FORMAT:
            raise BackupDamaged(f"{self.path / 'manifest.json'} is not the manifest of a backup")
        if said.get("version") != VERSION:
            raise BackupDamaged(
                f"the backup in {self.path} has form {said.get('version')}, this Longleaf reads {VERSION}; "
                "use the one that wrote it"
            )
        try:
            return Manifest(**said)
        except TypeError as error:
            raise BackupDamaged(f"{self.path / 'manifest.json'} is not complete: {error}") from error

    def catalogue(self, manifest: Manifest) -> Iterator[Part]:
        """Its tables and lists. Raises BackupDamaged."""
        name = Path(manifest.catalogue).name
        return read(self.path / name, manifest.catalogue_sha256)

    def lists(self, manifest: Manifest) -> tuple[dict[str, Written], dict[str, Written]]:
        """Packs by file name, and blobs by their names in the data folder. Raises BackupDamaged."""
        packs, blobs = dict[str, Written](), dict[str, Written]()
        for part in self.catalogue(manifest):
            if part.table in {PACKS, BLOBS}:
                target = packs if part.table == PACKS else blobs
                target.update((row["name"], Written(row["sha256"], row["bytes"])) for row in part.rows)
        return packs, blobs

    def pack(self, name: str) -> Path:
        """Where the pack of this name lies."""
        return self.path / "documents" / Path(name).name

    def blob(self, sha256: str) -> Path:
        """Where the bytes of this digest lie. Raises BackupDamaged for what is no digest."""
        if not _BLOB.fullmatch(sha256):
            raise BackupDamaged(f"the backup in {self.path} names {sha256[:80]!r} as the digest of a file")
        return self.path / "blobs" / sha256

    def take_blob(self, bring: Callable[[Path], bool], sha256: str, size: int) -> int | None:
        """Have a file brought in, unless it is here; gives the bytes written, None when they are not those of
        `sha256`.

        `bring` writes it to a path, or links it there and returns True: then it is not read. Raises as that.
        """
        target = self.blob(sha256)
        if target.is_file() and target.stat().st_size == size:
            return 0
        draft = target.with_name(f".{new_id('new')}")
        try:
            if not bring(draft) and digest(draft).sha256 != sha256:
                return None
            os.replace(draft, target)
        finally:
            draft.unlink(missing_ok=True)
        return size

    def replace(self, manifest: Manifest) -> None:
        """Make the state of `manifest` the one that counts. Raises OSError."""
        for name in ("documents", "blobs"):
            sync_folder(self.path / name)
        draft = self.path / f".{new_id('new')}"
        with draft.open("w", encoding="utf-8") as stream:
            json.dump(asdict(manifest), stream, indent=1)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(draft, self.path / "manifest.json")
        sync_folder(self.path)

    def clear(self, manifest: Manifest, packs: set[str], blobs: set[str]) -> int:
        """Remove every file that the manifest does not lead to, of deleted documents above all."""
        kept = {
            self.path: {"manifest.json", "lock", "documents", "blobs", manifest.catalogue},
            self.path / "documents": packs,
            self.path / "blobs": blobs,
        }
        removed = 0
        for folder, names in kept.items():
            for entry in folder.iterdir():
                if entry.name not in names and entry.is_file():
                    entry.unlink(missing_ok=True)
                    removed += 1
            sync_folder(folder)
        return removed


def chunk_key(session: Session) -> int:
    """The highest key that a chunk was ever given: none is given out twice, after a restore neither."""
    if session.get_bind().dialect.name == "sqlite":
        found = session.scalar(sa.text("SELECT seq FROM sqlite_sequence WHERE name = 'chunks'"))
    else:
        name = session.scalar(sa.text("SELECT pg_get_serial_sequence('chunks', 'id')"))
        found = session.scalar(
            sa.text(f"SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM {name}")  # noqa: S608
        )
    return int(found or 0)


def listed(name: str, entries: dict[str, Any]) -> Part:
    """A list of files as a part of the catalogue."""
    columns = (("name", "plain"), ("sha256", "plain"), ("bytes", "plain"))
    rows = ({"name": key, "sha256": found.sha256, "bytes": found.bytes} for key, found in entries.items())
    return Part(name, columns, rows)
