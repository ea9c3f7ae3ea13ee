"""Load: what one engine still has to do, in seconds at its own pace."""

from __future__ import annotations

import statistics
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from api.cluster.router_holdings import Holdings

READ_SECONDS, WRITE_SECONDS = 0.001, 0.02
"""Of a token, before an engine has shown its own; only their ratio matters where all engines are new."""
_NEW = 0.3
"""Weight of what was measured last."""
_ALIKE = 1.5
"""Engines whose paces differ by less than this factor count as equally fast: all that is cold would go to the
one that seemed a little faster, and push out what that one holds."""


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
        read_seconds, write_seconds: of a token, as it is reckoned with; see `settle`.
    """

    holdings: Holdings
    waiting: int = 0
    writing: int = 0
    requests: int = 0
    read_seconds: float = READ_SECONDS
    write_seconds: float = WRITE_SECONDS
    _before: Work = field(default_factory=Work)
    _read: float | None = None
    _write: float | None = None

    @property
    def seconds(self) -> float:
        """How long it is busy with what it was sent."""
        return self.waiting * self.read_seconds + self.writing * self.write_seconds

    def learn(self, work: Work) -> None:
        """Take up the pace of what was done since the last call."""
        before, self._before = self._before, work
        read, written = work.read - before.read, work.written - before.written
        if read > 0:
            self._read = _blended(self._read, (work.reading_seconds - before.reading_seconds) / read)
        if written > 0:
            # Of one token of one answer, though a pass writes one of each.
            self._write = _blended(self._write, (work.writing_seconds - before.writing_seconds) / written)


def settle(loads: Collection[Load]) -> None:
    """Give each engine the pace to reckon with: its own where that is another than most have, else theirs."""
    usual_read = _usual([load._read for load in loads], READ_SECONDS)
    usual_write = _usual([load._write for load in loads], WRITE_SECONDS)
    for load in loads:
        load.read_seconds = _unlike(load._read, usual_read)
        load.write_seconds = _unlike(load._write, usual_write)


def _blended(old: float | None, new: float) -> float | None:
    if new <= 0:
        return old
    return new if old is None else old + _NEW * (new - old)


def _usual(measured: Iterable[float | None], otherwise: float) -> float:
    known = [each for each in measured if each is not None]
    return statistics.median(known) if known else otherwise


def _unlike(own: float | None, usual: float) -> float:
    return usual if own is None or usual / _ALIKE < own < usual * _ALIKE else own
