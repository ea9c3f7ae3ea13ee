"""A simulated KV pool: the rules of `model.kv` by names and counts, without blocks."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Sequence


class SimulatedPool:
    """So many blocks: nameless ones in use, named ones in use, and named ones that wait to be overwritten."""

    def __init__(self, blocks: int) -> None:
        self._blocks = blocks
        self._nameless = 0
        self._used: Counter[bytes] = Counter()
        self._unused: OrderedDict[bytes, None] = OrderedDict()

    @property
    def free(self) -> int:
        """Blocks that nobody uses."""
        return self._blocks - self._nameless - len(self._used)

    def matching(self, names: Sequence[bytes]) -> int:
        """How many of the first names are there without a gap."""
        for number, name in enumerate(names):
            if name not in self._used and name not in self._unused:
                return number
        return len(names)

    def take(self, names: Sequence[bytes], nameless: int, *, always: bool) -> bool:
        """Use blocks that are there, and so many new ones; False where there is no room, unless `always`."""
        waiting = sum(name not in self._used for name in names)
        if nameless + waiting > self.free and not always:
            return False
        for name in names:
            self._unused.pop(name, None)
            self._used[name] += 1
        self._nameless += nameless
        while self._unused and len(self._unused) > max(self.free, 0):
            self._unused.popitem(last=False)
        return True

    def name(self, name: bytes) -> bool:
        """Name a block that has been filled; a second one of the same content stays nameless."""
        if name in self._used or name in self._unused:
            return False
        self._nameless -= 1
        self._used[name] = 1
        return True

    def release(self, names: Sequence[bytes], nameless: int) -> None:
        """Give up one use of each block; of those that nobody uses then the first is kept longest."""
        self._nameless -= nameless
        for name in reversed(names):
            self._used[name] -= 1
            if not self._used[name]:
                del self._used[name]
                self._unused[name] = None
