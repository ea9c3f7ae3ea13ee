"""Clearing up the shared place: snapshots and KV blocks that nothing leads to any more.

Originals there are cleared up with `ingest.originals`. What lies there is listed before the rows are read
that it belongs to: a row is there before what is made of it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from sqlalchemy import select

from ingest.keeping.kv import shared_blocks
from rag.objects.place import objects_of
from rag.objects.store import Damaged, Listed, ObjectStore
from rag.settings import Settings
from rag.store.scope import utc_now
from rag.store.session import Database
from rag.store.state import identity_of
from rag.store.tables import Collection, Document

GRACE = timedelta(hours=1)
"""Age below which a file that no manifest names is one of a snapshot that is being sent."""


@dataclass(frozen=True, slots=True)
class SharedStray:
    """Something in the place that is nobody's: a snapshot or part of one, a KV block or a marker of one."""

    kind: Literal["index", "kv"]
    name: str
    bytes: int


def shared_strays(db: Database, settings: Settings) -> list[SharedStray]:
    """What of this store is nobody's there; none without a shared place. Raises Unavailable."""
    blocks = shared_blocks(db, settings)
    if blocks is None:
        return []
    kept = blocks.kept()
    objects = objects_of(settings)
    with db.read() as session:
        under = f"indexes/{identity_of(session)}"
    snapshots: dict[str, list[Listed]] = defaultdict(list)
    for found in objects.list(under):
        snapshots[found.name.split("/")[2]].append(found)
    with db.read() as session:
        documents = set(session.scalars(select(Document.id)))
        collections = set(session.scalars(select(Collection.id)))
    strays = [SharedStray("kv", found.name, found.size) for found in blocks.strays(kept, documents)]
    for collection_id, files in snapshots.items():
        known = collection_id in collections
        for found in _unnamed(objects, f"{under}/{collection_id}", files, documents) if known else files:
            strays.append(SharedStray("index", found.name, found.size))
    return strays


def clear_shared(db: Database, settings: Settings) -> list[str]:
    """Remove what is nobody's there; returns the names. Raises Unavailable."""
    names = [stray.name for stray in shared_strays(db, settings)]
    if names:
        # the manifest first: without it the other files are no snapshot
        objects_of(settings).delete(sorted(names, key=lambda name: not name.endswith("manifest.json")))
    return names


def _unnamed(objects: ObjectStore, place: str, files: list[Listed], documents: set[str]) -> Iterator[Listed]:
    """Files of a collection's snapshot that its manifest does not name; all, where it tells of documents that
    are gone."""
    from rag.index.snapshot import MANIFEST, parse_manifest  # noqa: PLC0415 (it loads FAISS)

    with suppress(ValueError, KeyError, TypeError, Damaged):
        text = objects.get(f"{place}/{MANIFEST}")
        if text is not None:
            manifest = parse_manifest(text)
            if not {key for key, _, _ in manifest["documents"]} <= documents:
                yield from files
                return
            named = {MANIFEST, *manifest["files"]}
            files = [found for found in files if found.name.rpartition("/")[2] not in named]
    yield from (found for found in files if found.modified < utc_now() - GRACE)
