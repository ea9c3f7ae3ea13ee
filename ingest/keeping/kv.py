"""KV blocks on disk that hold a document's text: they go with it, whether or not an engine is loaded."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from ingest.files import sync_folder
from rag.settings import Settings


def kv_folder(settings: Settings) -> Path:
    """Where an engine of this store keeps KV blocks, if it is told to keep any on disk."""
    return settings.data_dir / "kv"


def purge_blocks(settings: Settings, *document_ids: str) -> int:
    """Remove the blocks that carry a tag of the documents, and those whose tags can't be read.

    An engine that holds the folder finds a block gone as if it had been evicted; what it holds in memory it
    forgets by the log of changes. Returns how many; raises OSError.
    """
    folder = kv_folder(settings)
    removed, gone = 0, frozenset(document_ids)
    for path in blocks_of(folder, lambda tags: not gone.isdisjoint(tags)):
        path.unlink(missing_ok=True)
        removed += 1
    if removed:
        sync_folder(folder)
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
