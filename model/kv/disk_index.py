"""Which blocks the disk tier has: their sizes and tags, in the order of their last use."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass


@dataclass(eq=False)
class Entry:
    """One file.

    Attributes:
        size: in bytes.
        tags: the live set, shared with the tiers above.
        mine: whether this engine may read it; blocks of other models only take room.
    """

    size: int
    tags: set[str]
    mine: bool


class DiskIndex:
    """Entries by the block's hash, least recently used first. Not locked: its owner is.

    Attributes:
        bytes: of all files.
    """

    def __init__(self) -> None:
        self._entries: OrderedDict[bytes, Entry] = OrderedDict()
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, key: bytes) -> bool:
        return key in self._entries

    def get(self, key: bytes) -> Entry | None:
        """The file's entry; None where there is none."""
        return self._entries.get(key)

    def fill(self, entries: Iterable[tuple[bytes, Entry]]) -> None:
        """Have these and no others, least recently used first."""
        self._entries = OrderedDict(entries)
        self.bytes = sum(entry.size for entry in self._entries.values())

    def put(self, key: bytes, entry: Entry) -> None:
        """Add a file as the most recently used, in the place of one of the same name."""
        if (old := self._entries.pop(key, None)) is not None:
            self.bytes -= old.size
        self._entries[key] = entry
        self.bytes += entry.size

    def touch(self, key: bytes) -> None:
        """Make a file that is there the most recently used."""
        self._entries.move_to_end(key)

    def grow(self, entry: Entry, size: int) -> None:
        """Note that a file that is there got longer by `size` bytes."""
        entry.size += size
        self.bytes += size

    def forget(self, key: bytes, entry: Entry) -> bool:
        """Take the entry out; False where the block has another by now, or none."""
        if self._entries.get(key) is not entry:
            return False
        del self._entries[key]
        self.bytes -= entry.size
        return True

    def tagged(self, tag: str) -> list[tuple[bytes, Entry]]:
        """The files with this tag."""
        return [(key, entry) for key, entry in self._entries.items() if tag in entry.tags]

    def beyond(self, limit: int) -> Iterator[tuple[bytes, Entry]]:
        """Take out and give the least recently used, one by one, until at most `limit` bytes are left."""
        while self._entries and self.bytes > limit:
            key, entry = self._entries.popitem(last=False)
            self.bytes -= entry.size
            yield key, entry
