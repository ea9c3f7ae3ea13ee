"""Load: what one engine still has to do, in seconds at its own pace."""

from __future__ import annotations

from dataclasses import dataclass, field

from api.cluster.router_holdings import Holdings

READ_SECONDS, WRITE_SECONDS = 0.001, 0.02
"""Of a token, before an engine has shown its own; only their ratio matters where all engines are new."""
_NEW = 0.3
"""Weight of what was measured last."""


@dataclass(frozen=True)
class Work:
    """What an engine has done since it was loaded: tokens read (not reused) and written, and seconds of
    each."""

    read: int = 0
    written: int = 0
    reading_seconds: float = 0.0
    writing_seconds: float = 0.0


@dataclass
class Load:
    """One engine as the router sees it.

    Attributes:
        waiting: prompt tokens that it was sent and has not read yet.
        writing: tokens that it may still write for what it was sent.
        requests: what it was sent and has not ended.
        read_seconds, write_seconds: of a token, as measured there; shared by all that are written together.
        seen: when it last said something.
    """

    holdings: Holdings
    waiting: int = 0
    writing: int = 0
    requests: int = 0
    read_seconds: float = READ_SECONDS
    write_seconds: float = WRITE_SECONDS
    seen: float = 0.0
    _before: Work = field(default_factory=Work)

    @property
    def seconds(self) -> float:
        """How long it is busy with what it was sent."""
        return self.waiting * self.read_seconds + self.writing * self.write_seconds

    def learn(self, work: Work) -> None:
        """Take up the pace of what was done since the last call."""
        before, self._before = self._before, work
        read, written = work.read - before.read, work.written - before.written
        if read > 0 and work.reading_seconds > before.reading_seconds:
            pace = (work.reading_seconds - before.reading_seconds) / read
            self.read_seconds += _NEW * (pace - self.read_seconds)
        if written > 0 and work.writing_seconds > before.writing_seconds:
            pace = (work.writing_seconds - before.writing_seconds) / written
            self.write_seconds += _NEW * (pace - self.write_seconds)
