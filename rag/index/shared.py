"""Snapshots in a place that all processes reach: who starts on another machine need not build what is built.

They are the files of `snapshot`, under the same names, which never stand for anything else. As on the disk, a
snapshot may be lost, damaged or old at any moment: it costs time and nothing else.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

from rag.errors import Unavailable
from rag.index import snapshot
from rag.index.collection import CollectionIndex
from rag.objects.place import open_objects
from rag.objects.store import Damaged, ObjectStore
from rag.settings import Settings
from rag.store.session import Database
from rag.store.state import identity_of

log = logging.getLogger(__name__)

FOLDER = "indexes"
_AT_ONCE = 4
_TROUBLE = (Unavailable, Damaged, OSError, ValueError, KeyError, TypeError)


class SharedSnapshots:
    """The snapshots of one store's collections in an object store; threads may share it."""

    def __init__(self, objects: ObjectStore, store: str) -> None:
        """`store` is the identity of the database that the indexes are derived from."""
        self._objects = objects
        self._under = f"{FOLDER}/{store}"
        self._sender = ThreadPoolExecutor(1, "longleaf-snapshots")

    def fetch(self, folder: Path, origin: snapshot.Origin) -> bool:
        """Bring the files of the collection's snapshot to `folder`, where it is newer than what is there.

        Returns whether it did. What is damaged, foreign or out of reach is left, and said in the log.
        """
        place = self._place(origin.collection_id)
        try:
            text = self._objects.get(f"{place}/{snapshot.MANIFEST}")
            if text is None:
                return False
            manifest = snapshot.parse_manifest(text)
            if manifest["format"] != snapshot.FORMAT or manifest["origin"] != vars(origin):
                return False
            if int(manifest["seq"]) <= _seq_of(folder, origin):
                return False
            names = [name for name in manifest["files"] if not (folder / _plain(name)).is_file()]
            folder.mkdir(parents=True, exist_ok=True)
            with ThreadPoolExecutor(_AT_ONCE) as pool:
                got = pool.map(lambda name: self._objects.get_file(f"{place}/{name}", folder / name), names)
                if not all(got):
                    return False
            snapshot.write_manifest(folder, text)
        except _TROUBLE as error:
            log.warning("the shared snapshot of %s is not used: %s", origin.collection_id, error)
            return False
        return True

    def publish(self, folder: Path, collection_id: str, stale: Callable[[], bool]) -> Future[None]:
        """Begin to send the snapshot in `folder`, unless the one that is there is as new.

        `stale` is asked at the end: where something was deleted meanwhile, what was sent is removed again.
        """
        return self._sender.submit(self._publish, folder, collection_id, stale)

    def purge(self, collection_id: str, index: CollectionIndex) -> None:
        """Make the snapshot none, and remove each of its files that holds what `index` holds no more.

        Raises Unavailable where the place does not answer: then it may still hold it.
        """
        place = self._place(collection_id)
        self._objects.delete([f"{place}/{snapshot.MANIFEST}"])
        kept = snapshot.kept_parts(index)
        names = [found.name for found in self._objects.list(place)]
        self._objects.delete([name for name in names if _part(name) not in kept])

    def drop(self, collection_id: str) -> None:
        """Remove all that is there of a collection. Raises Unavailable."""
        self._objects.delete([f"{self._place(collection_id)}/{snapshot.MANIFEST}"])
        self._objects.purge(self._place(collection_id))

    def close(self) -> None:
        """Wait until what is being sent has been."""
        self._sender.shutdown()

    @classmethod
    def of(cls, db: Database, settings: Settings) -> SharedSnapshots | None:
        """Those of the settings' place, for the store `db`; None where there is none. Raises as
        `rag.objects.place.open_objects`."""
        objects = open_objects(settings)
        if objects is None:
            return None
        with db.read() as session:
            return cls(objects, identity_of(session))

    def _publish(self, folder: Path, collection_id: str, stale: Callable[[], bool]) -> None:
        place = self._place(collection_id)
        try:
            text = (folder / snapshot.MANIFEST).read_bytes()
            manifest = snapshot.parse_manifest(text)
            if int(manifest["seq"]) <= self._published(place, manifest["origin"]):
                return
            there = {found.name.rpartition("/")[2] for found in self._objects.list(place)}
            for name in manifest["files"].keys() - there:
                self._objects.put_file(f"{place}/{name}", folder / name)
            self._objects.put(f"{place}/{snapshot.MANIFEST}", text)
            old = there - manifest["files"].keys() - {snapshot.MANIFEST}
            self._objects.delete([f"{place}/{name}" for name in old])
        except _TROUBLE as error:  # a file may have been replaced meanwhile: the next one will be sent
            log.warning("the snapshot of %s is not shared: %s", collection_id, error)
        try:
            if stale():
                self.drop(collection_id)
        except Unavailable as error:
            log.warning("the shared snapshot of %s may hold what was deleted: %s", collection_id, error)

    def _published(self, place: str, origin: dict[str, Any]) -> int:
        with suppress(*_TROUBLE):
            text = self._objects.get(f"{place}/{snapshot.MANIFEST}")
            manifest = snapshot.parse_manifest(text or b"")
            if manifest["format"] == snapshot.FORMAT and manifest["origin"] == origin:
                return int(manifest["seq"])
        return -1

    def _place(self, collection_id: str) -> str:
        return f"{self._under}/{collection_id}"


def _seq_of(folder: Path, origin: snapshot.Origin) -> int:
    with suppress(OSError, ValueError, KeyError):
        manifest = snapshot.read_manifest(folder)
        if manifest["format"] == snapshot.FORMAT and manifest["origin"] == vars(origin):
            return int(manifest["seq"])
    return -1


def _plain(name: str) -> str:
    """The name, which comes from elsewhere, if it is one of a file in a folder. Raises ValueError."""
    if not name or name != Path(name).name or name.startswith("."):
        raise ValueError(f"a snapshot names the file {json.dumps(name)}")
    return name


def _part(name: str) -> str:
    return name.rpartition("/")[2].partition(".")[0]
