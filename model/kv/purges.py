"""Which tags were purged and when, so that work that began before does not bring their blocks back."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable


class Purges:
    """Purges by number. Not locked: its owner is.

    Attributes:
        count: how many have begun; what begins now is later than all of these.
    """

    def __init__(self, most: int = 100_000) -> None:
        """Remember the last purge of `most` tags; of one that was forgotten, any tag is taken to be."""
        self.count = self._forgotten = 0
        self._most = most
        self._last: OrderedDict[str, int] = OrderedDict()

    def begin(self, tag: str) -> None:
        """Note a purge."""
        self.count += 1
        self._last[tag] = self.count
        self._last.move_to_end(tag)
        if len(self._last) > self._most:
            self._forgotten = self._last.popitem(last=False)[1]

    def since(self, tags: Iterable[str], began: int) -> bool:
        """Whether one of the tags was purged, or may have been, after `count` was `began`."""
        return began < self._forgotten or any(self._last.get(tag, 0) > began for tag in tags)
