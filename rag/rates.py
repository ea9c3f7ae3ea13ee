"""Allowances of requests and tokens by the minute: token buckets, in this process or shared by the database.

A bucket is full at first, holds one minute's allowance, and fills evenly. A request takes one from each that
concerns it, or nothing from any. Tokens are known when they are used: a request is let in while some are
left, and what it used is taken afterwards, below zero if need be.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

MINUTE = 60.0
Kind = Literal["requests", "tokens"]
_GRAIN = 1e-3
"""What the database keeps of a level: within it a bucket counts as having what is asked for."""
_MANY = 10_000
"""Buckets in memory, from which on those that are full are forgotten."""


@dataclass(frozen=True, slots=True)
class Allowance:
    """How much a subject, an id, may use in a minute. `name` is what the policy is called towards clients."""

    name: str
    subject: str
    kind: Kind
    most: int

    @property
    def key(self) -> tuple[str, str]:
        """Which bucket it is."""
        return self.subject, self.kind


@dataclass(frozen=True, slots=True)
class Bucket:
    """What was left at a moment, in seconds of any clock."""

    level: float
    at: float

    def filled(self, most: int, now: float) -> Bucket:
        """The same one later; a clock that went back adds nothing."""
        gained = max(0.0, now - self.at) * most / MINUTE
        return Bucket(min(float(most), self.level + gained), max(now, self.at))


@dataclass(frozen=True, slots=True)
class Standing:
    """What is left of an allowance; `full_in` and `wait` are seconds until all of it is there, and until a
    request is let in."""

    allowance: Allowance
    level: float
    wait: float = 0.0

    @property
    def remaining(self) -> int:
        """Whole units that may be used."""
        return max(0, int(self.level + _GRAIN))

    @property
    def full_in(self) -> float:
        """Seconds until the bucket is full."""
        most = self.allowance.most
        return (most - self.level) * MINUTE / most


def judge(
    allowances: Sequence[Allowance], buckets: Mapping[tuple[str, str], Bucket], now: float
) -> tuple[list[Standing], dict[tuple[str, str], Bucket]]:
    """How things stand once a request was let in, or was not, which a `wait` above 0 says; and the buckets
    that are changed by it."""
    filled = {
        each.key: buckets.get(each.key, Bucket(float(each.most), now)).filled(each.most, now)
        for each in allowances
    }
    waits = {each.key: _wait(each, filled[each.key]) for each in allowances}
    takes = not any(waits.values())
    if takes:
        for each in allowances:
            if each.kind == "requests":
                filled[each.key] = Bucket(filled[each.key].level - 1, filled[each.key].at)
    standings = [Standing(each, filled[each.key].level, waits[each.key]) for each in allowances]
    changed = {each.key: filled[each.key] for each in allowances if takes and each.kind == "requests"}
    return standings, changed


def used(
    allowances: Sequence[Allowance],
    buckets: Mapping[tuple[str, str], Bucket],
    now: float,
    tokens: int,
) -> dict[tuple[str, str], Bucket]:
    """The buckets of tokens after so many were used."""
    after: dict[tuple[str, str], Bucket] = {}
    for each in allowances:
        if each.kind == "tokens":
            held = buckets.get(each.key, Bucket(float(each.most), now)).filled(each.most, now)
            after[each.key] = Bucket(held.level - tokens, held.at)
    return after


def _wait(allowance: Allowance, bucket: Bucket) -> float:
    lacking = 1.0 - bucket.level
    return 0.0 if lacking <= _GRAIN else lacking * MINUTE / allowance.most


class Rates(Protocol):
    """Where the buckets are."""

    waits: bool
    """Whether it talks to another machine, so that an event loop has to leave it to a thread."""

    def admit(self, allowances: Sequence[Allowance]) -> list[Standing]:
        """Let a request in, or not: see `judge`. Raises Unavailable."""

    def charge(self, allowances: Sequence[Allowance], tokens: int) -> None:
        """Take tokens that were used. Raises Unavailable."""


class OwnRates:
    """Buckets of this process alone."""

    waits = False

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._buckets: dict[tuple[str, str], Bucket] = {}
        self._most: dict[tuple[str, str], int] = {}

    def admit(self, allowances: Sequence[Allowance]) -> list[Standing]:
        """See `judge`."""
        with self._lock:
            standings, changed = judge(allowances, self._buckets, self._clock())
            self._keep(allowances, changed)
        return standings

    def charge(self, allowances: Sequence[Allowance], tokens: int) -> None:
        """Take tokens that were used."""
        with self._lock:
            self._keep(allowances, used(allowances, self._buckets, self._clock(), tokens))

    def _keep(self, allowances: Sequence[Allowance], changed: Mapping[tuple[str, str], Bucket]) -> None:
        self._buckets.update(changed)
        self._most.update((each.key, each.most) for each in allowances if each.key in changed)
        if len(self._buckets) > _MANY:
            now = self._clock()
            full = [
                key
                for key, bucket in self._buckets.items()
                if bucket.filled(self._most[key], now).level >= self._most[key]
            ]
            for key in full:
                del self._buckets[key], self._most[key]
