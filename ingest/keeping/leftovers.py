"""What was made of documents that are gone: deletions remove it, unless a crash or the disk is in the way."""

from __future__ import annotations

from collections.abc import Set
from contextlib import suppress
from pathlib import Path

from sqlalchemy import select

from ingest.files import remove_if_possible
from ingest.keeping.kv import blocks_of, kv_folder
from ingest.locks import remove_dead_folders
from ingest.resumable import remove_expired
from rag.settings import Settings
from rag.store.session import Database
from rag.store.tables import Collection, Document

UNPACKED = "import_"
"""What the folder in `data_dir/tmp` begins with in which an archive lies while it is read."""


def clear_leftovers(db: Database, settings: Settings) -> list[str]:
    """Remove parts of stored indexes and KV blocks that hold what no document says, expired uploads, and
    archives whose import was killed.

    Run it when a process starts; others may be at work: if one loses what it is just writing, that costs time
    and nothing else. Returns their names. Raises Unavailable.
    """
    index, blocks = settings.data_dir / "index", kv_folder(settings)
    removed = remove_expired(settings) + remove_dead_folders(settings.data_dir / "tmp", UNPACKED)
    if not index.is_dir() and not blocks.is_dir():
        return removed
    with db.read() as session:
        collections = set(session.scalars(select(Collection.id)))
        documents = set(session.scalars(select(Document.id)))
    for folder in sorted(index.glob("*")):
        if folder.name not in collections or not _is_current(folder, documents):
            _drop(folder)
            removed.append(folder.name)
    for path in blocks_of(blocks, lambda tags: not tags <= documents):
        remove_if_possible(path)
        removed.append(path.name)
    return removed


def _is_current(folder: Path, documents: Set[str]) -> bool:
    """Whether a snapshot can be read and names no document that is gone. Files of it that its manifest does
    not name are removed."""
    from rag.index.snapshot import MANIFEST, read_manifest  # noqa: PLC0415 (it loads FAISS)

    try:
        manifest = read_manifest(folder)
        names = {MANIFEST, *manifest["files"]}
        if not {key for key, _, _ in manifest["documents"]} <= documents:
            return False
        with suppress(FileNotFoundError):
            for path in folder.iterdir():
                if path.name not in names:
                    remove_if_possible(path)
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return True


def _drop(folder: Path) -> None:
    from rag.index.snapshot import drop  # noqa: PLC0415

    drop(folder)
