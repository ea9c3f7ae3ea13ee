"""The RAM tier: as many KV blocks as a limit in bytes allows; the least recently used make room."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from torch import Tensor


@dataclass(eq=False)
class Held:
    """A block in memory; `tags` is shared with every other tier that has the block."""

    tensor: Tensor
    tags: set[str]


class MemoryTier:
    """Blocks by hash in the order of their last use. Not locked: its owner is.

    Attributes:
        limit: most bytes of tensors; 0 keeps nothing.
        bytes: of the tensors that are held.
        evicted: blocks that had to make room.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.bytes = 0
        self.evicted = 0
        self._held: OrderedDict[bytes, Held] = OrderedDict()

    def __contains__(self, key: bytes) -> bool:
        return key in self._held

    @property
    def blocks(self) -> int:
        """Blocks that are held."""
        return len(self._held)

    def get(self, key: bytes) -> Held | None:
        """The block, which does not count as a use."""
        return self._held.get(key)

    def touch(self, key: bytes) -> None:
        """Make the block, if it is here, the most recently used."""
        if key in self._held:
            self._held.move_to_end(key)

    def put(self, key: bytes, tensor: Tensor, tags: set[str]) -> bool:
        """Keep a block; gives False where it is larger than the tier."""
        self.drop(key)
        if tensor.nbytes > self.limit:
            return False
        while self.bytes + tensor.nbytes > self.limit:
            _, oldest = self._held.popitem(last=False)
            self.bytes -= oldest.tensor.nbytes
            self.evicted += 1
        self._held[key] = Held(tensor, tags)
        self.bytes += tensor.nbytes
        return True

    def drop(self, key: bytes) -> None:
        """Forget the block if it is here."""
        held = self._held.pop(key, None)
        if held is not None:
            self.bytes -= held.tensor.nbytes

    def purge(self, tag: str) -> set[bytes]:
        """Forget every block with this tag; gives their hashes."""
        gone = {key for key, held in self._held.items() if tag in held.tags}
        for key in gone:
            self.drop(key)
        return gone
