"""Pace: how the time is shared between requests that write and prompts that are read."""

from __future__ import annotations


class Pace:
    """Sees to it that writers keep at least half of their speed while prompts are read.

    A chunk of a prompt takes as long as many tokens. While somebody writes, the time that chunks took is
    owed to the writers, and no chunk is read until they had as much for themselves.
    """

    def __init__(self) -> None:
        self._owed = 0.0

    @property
    def may_read(self) -> bool:
        """Whether the next step may read a chunk although requests are writing."""
        return self._owed <= 0

    def note(self, *, writing: float, reading: float, writers: bool) -> None:
        """Take note of a step: seconds of its rows and of its chunks, and whether anybody writes."""
        if not writers:
            self._owed = 0.0
        elif reading:
            self._owed += reading
        else:
            self._owed -= writing
