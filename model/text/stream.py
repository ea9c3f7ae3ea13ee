"""Tokens to text while they arrive: whole characters only, and nothing that a stop string may still claim."""

from __future__ import annotations

import codecs
from collections.abc import Sequence


class TextStream:
    """Turns pieces of bytes into pieces of text.

    The pieces joined are the same text however the bytes were cut. An incomplete UTF-8 sequence waits for
    its rest; the longest end of the text that begins a stop string waits until it is decided.

    Attributes:
        stopped: the stop string that was met; the text ends before it.
    """

    def __init__(self, stop: Sequence[str] = ()) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._stop = tuple(stop)
        self._held = ""
        self.stopped: str | None = None

    def push(self, piece: bytes) -> str:
        """Take bytes, give the text that is certain now (often empty)."""
        return self._release(self._decoder.decode(piece))

    def flush(self) -> str:
        """The end of the stream: what was held, an incomplete UTF-8 sequence as U+FFFD."""
        text = self._release(self._decoder.decode(b"", final=True))
        if self.stopped is None:
            text, self._held = text + self._held, ""
        return text

    def _release(self, text: str) -> str:
        if not self._stop:
            return text
        if self.stopped is not None:
            return ""
        self._held += text
        # Of several, the one that is complete first wins: the only choice that later text cannot change.
        found = [(at + len(stop), at, stop) for stop in self._stop if (at := self._held.find(stop)) >= 0]
        if found:
            _, at, self.stopped = min(found)
            text, self._held = self._held[:at], ""
            return text
        keep = max((_overlap(self._held, stop) for stop in self._stop), default=0)
        cut = len(self._held) - keep
        text, self._held = self._held[:cut], self._held[cut:]
        return text


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of `text` that is a beginning of `stop`."""
    for size in range(min(len(text), len(stop) - 1), 0, -1):
        if text.endswith(stop[:size]):
            return size
    return 0
