"""Turns: how many questions are worked on by this machine's own cores at a time, whoever asked them.

Finding, packing and quoting keep cores and interpreter busy and wait for nothing. More of them side by side
finish none sooner, and everybody else waits longer for the interpreter. What waits for a model takes no turn.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

AT_ONCE = max(2, os.cpu_count() or 1)


class Turns:
    """Hands out `most` turns; threads share it."""

    def __init__(self, most: int = AT_ONCE) -> None:
        self._free = threading.BoundedSemaphore(most)

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Wait for a turn and hold it. Not to be held where somebody else decides when it goes on."""
        with self._free:
            yield
