"""KV blocks outside of an engine that hold a document's text: they go with it, be one loaded or not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from ingest.files import sync_folder
from rag.settings import Settings
from rag.store.session import Database
from rag.store.state import identity_of

if TYPE_CHECKING:
    from rag.objects.blocks import SharedBlocks


def kv_folder(settings: Settings) -> Path:
    """Where an engine of this store keeps KV blocks, if it is told to keep any on disk."""
    return settings.data_dir / "kv"


def shared_blocks(db: Database, settings: Settings) -> SharedBlocks | None:
    """Where engines of this store share KV blocks, if they are told to; None without a shared place.

    Raises as `rag.objects.place.open_objects`, Unavailable.
    """
    if not settings.objects:
        return None
    from rag.objects.blocks import SharedBlocks  # noqa: PLC0415
    from rag.objects.place import objects_of  # noqa: PLC0415

    with db.read() as session:
        return SharedBlocks(objects_of(settings), identity_of(session), settings.kv_shared_bytes)


def purge_blocks(db: Database, settings: Settings, *document_ids: str) -> int:
    """Remove the blocks that carry a tag of the documents, and those on the disk whose tags can't be read.

    An engine that reads them finds a block gone as if it had been evicted; what it holds in memory it
    forgets by the log of changes. Returns how many; raises OSError, Unavailable.
    """
    folder = kv_folder(settings)
    removed, gone = 0, frozenset(document_ids)
    for path in blocks_of(folder, lambda tags: not gone.isdisjoint(tags)):
        path.unlink(missing_ok=True)
        removed += 1
    if removed:
        sync_folder(folder)
    if (shared := shared_blocks(db, settings)) is not None:
        removed += shared.purge(gone)
    return removed


def blocks_of(folder: Path, wanted: Callable[[frozenset[str]], bool]) -> Iterator[Path]:
    """Files of the folder whose tags are `wanted`, or can't be read; none where there is no such folder."""
    if not folder.is_dir():
        return
    from model.kv.block_file import BlockFileError, read_head  # noqa: PLC0415

    for path in sorted(folder.glob("*.kv")):
        with suppress(FileNotFoundError):
            try:
                if wanted(read_head(path).tags):
                    yield path
            except (BlockFileError, PermissionError):
                yield path
