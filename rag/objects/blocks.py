"""KV blocks in the shared place, where engines of the same model find what others have read.

    kv/{store}/{fingerprint}/{veil of the hash}                    a block
    kv-tags/{store}/{tag}/{fingerprint}.{veil}                     an empty marker for each of its tags

A marker is written before its block, and looked for after it; a purge removes a tag's blocks, then its
markers, then the blocks once more. So whichever of the two comes first, no block outlives the purge of one of
its tags, and a process without an engine purges by listing a tag's markers. A block without a tag has a
marker too, under `-`: what has none is what a crash left.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta

from rag.objects.store import Damaged, Listed, ObjectStore
from rag.store.scope import utc_now

log = logging.getLogger(__name__)

BLOCKS, MARKERS = "kv", "kv-tags"
UNTAGGED = "-"
GRACE = timedelta(minutes=10)
"""Age below which a marker without a block, or a block without a marker, is one that is being written."""
_THREADS = 8


@dataclass(frozen=True)
class Kept:
    """What lies there: blocks by `{fingerprint}.{veil}`, and each one's tags with their markers."""

    blocks: dict[str, Listed]
    tags: dict[str, dict[str, Listed]]

    @property
    def bytes(self) -> int:
        """Of all blocks."""
        return sum(found.size for found in self.blocks.values())


class SharedBlocks:
    """The blocks of one store's engines; a `model.kv.place.BlockPlace`. Threads may share it.

    Every method raises Unavailable (`objects_unavailable`) where the place does not answer or refuses.
    """

    def __init__(self, objects: ObjectStore, store: str, limit: int = 0) -> None:
        """`store` is the identity of the database, `limit` the most bytes of blocks; 0 for any number."""
        self._objects, self._limit = objects, limit
        self._blocks, self._markers = f"{BLOCKS}/{store}", f"{MARKERS}/{store}"
        self._until_tidy = 0

    def get(self, fingerprint: bytes, key: bytes) -> bytes | None:
        """The block's bytes, None where it is not there or is damaged."""
        name = self._name(fingerprint, key)
        try:
            return self._objects.get(self._block(name))
        except Damaged as error:
            log.warning("a shared KV block is not used: %s", error)
            return None

    def put(self, fingerprint: bytes, key: bytes, content: bytes, tags: Collection[str]) -> bool:
        """Keep a block; False where one of its tags was purged meanwhile: then it is not there."""
        name = self._name(fingerprint, key)
        markers = [self._marker(tag, name) for tag in tags or (UNTAGGED,)]
        for marker in markers:
            self._objects.put(marker, b"")
        if self._objects.size(self._block(name)) is None:
            self._make_room(len(content))
            self._objects.put(self._block(name), content)
        if all(self._objects.size(marker) is not None for marker in markers):
            return True
        self._objects.delete([self._block(name), *markers])
        return False

    def tag(self, fingerprint: bytes, key: bytes, tags: Collection[str]) -> bool:
        """Add tags to a block; False where it is not there."""
        name = self._name(fingerprint, key)
        if self._objects.size(self._block(name)) is None:
            return False
        markers = [self._marker(tag, name) for tag in tags]
        for marker in markers:
            self._objects.put(marker, b"")
        if self._objects.size(self._block(name)) is not None:
            return True
        self._objects.delete(markers)
        return False

    def drop(self, fingerprint: bytes, keys: Collection[bytes]) -> None:
        """Remove blocks; their markers are left to who tidies up."""
        self._objects.delete(self._block(self._name(fingerprint, key)) for key in keys)

    def purge(self, tags: Iterable[str]) -> int:
        """Remove every block with one of the tags, whichever engine wrote it; returns how many there were."""
        with ThreadPoolExecutor(_THREADS) as pool:
            return sum(pool.map(self._purge, tags))

    def kept(self) -> Kept:
        """All that lies there, of all engines."""
        blocks = {
            found.name.removeprefix(f"{self._blocks}/").replace("/", "."): found
            for found in self._objects.list(self._blocks)
        }
        tags: dict[str, dict[str, Listed]] = defaultdict(dict)
        for found in self._objects.list(self._markers):
            tag, _, name = found.name.removeprefix(f"{self._markers}/").rpartition("/")
            tags[name][tag] = found
        return Kept(blocks, tags)

    def strays(self, kept: Kept, wanted: Collection[str] | None = None, room: int = 0) -> list[Listed]:
        """What is to go of `kept`: blocks without a marker, or with a tag that is not `wanted` (where that is
        given), the oldest beyond the limit less `room`; markers without a block."""
        old = utc_now() - GRACE
        gone: dict[str, Listed] = {}
        for name, found in kept.blocks.items():
            tags = kept.tags.get(name, {}).keys()
            unwanted = wanted is not None and not tags - {UNTAGGED} <= set(wanted)
            if unwanted or (not tags and found.modified < old):
                gone[name] = found
        held = kept.bytes - sum(found.size for found in gone.values())
        for name, found in sorted(kept.blocks.items(), key=lambda item: item[1].modified):
            if not self._limit or held <= max(0, self._limit - room):
                break
            if name not in gone:
                gone[name] = found
                held -= found.size
        # markers go with their block; those without one may be of a block that is being written
        alone = [
            marker
            for name, tags in kept.tags.items()
            for marker in tags.values()
            if name in gone or (name not in kept.blocks and marker.modified < old)
        ]
        return [*gone.values(), *alone]

    def _make_room(self, size: int) -> None:
        """Look now and then whether the limit is kept, and remove the oldest blocks where it is not."""
        if not self._limit:
            return
        self._until_tidy -= size
        if self._until_tidy <= 0:
            self._until_tidy = self._limit // 16
            gone = self.strays(self.kept(), room=size + self._until_tidy)
            self._objects.delete([each.name for each in gone])

    def _purge(self, tag: str) -> int:
        markers = [found.name for found in self._objects.list(f"{self._markers}/{tag}")]
        blocks = [self._block(name.rpartition("/")[2]) for name in markers]
        if markers:
            self._objects.delete(blocks)
            self._objects.delete(markers)
            self._objects.delete(blocks)
        return len(blocks)

    def _name(self, fingerprint: bytes, key: bytes) -> str:
        return f"{fingerprint.hex()}.{self._objects.veils(key.hex())[0]}"

    def _block(self, name: str) -> str:
        return f"{self._blocks}/{name.replace('.', '/')}"

    def _marker(self, tag: str, name: str) -> str:
        return f"{self._markers}/{tag}/{name}"
