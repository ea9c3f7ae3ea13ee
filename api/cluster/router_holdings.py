"""Holdings: which KV blocks an engine is thought to hold."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence


class Holdings:
    """Names of blocks, no more than the engine has room for; the least recently used are forgotten first.

    It is an opinion: learned from what was sent there, and put right by what the engine says it reused.
    """

    def __init__(self, most: int) -> None:
        """`most` is the number of blocks that the engine can keep."""
        self.most = most
        self._names: OrderedDict[bytes, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._names)

    def leading(self, names: Sequence[bytes]) -> int:
        """How many of the first blocks of a prompt are there: they are of use only without a gap."""
        for index, name in enumerate(names):
            if name not in self._names:
                return index
        return len(names)

    def add(self, names: Sequence[bytes]) -> None:
        """Take note that blocks are there now; the first of a prompt is used last, as engines keep it
        longest."""
        for name in reversed(names):
            self._names[name] = None
            self._names.move_to_end(name)
        while len(self._names) > self.most:
            self._names.popitem(last=False)

    def lack(self, names: Sequence[bytes]) -> None:
        """Take note that blocks turned out not to be there."""
        for name in names:
            self._names.pop(name, None)

    def clear(self) -> None:
        """Forget all."""
        self._names.clear()
