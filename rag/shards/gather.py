"""Scatter and gather: every shard is asked at once; of its replicas the first one that answers counts.

A replica that takes longer than 95 of its last 100 answers did is not waited for alone: another one is asked
the same (Dean and Barroso 2013, "The Tail at Scale"). One that fails is followed by the next at once. A shard
of which none answers in time is missing, and the rest is what is known.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from rag.errors import LongleafError, Unavailable
from rag.shards.latency import Latencies
from rag.shards.placement import Shard

T = TypeVar("T")
PATIENCE = 10.0
"""Seconds after which a shard that has not answered is missing."""


@dataclass
class _Asked(Generic[T]):
    """A shard that has not answered yet: replicas that are left, those in work, and when to ask one more."""

    shard: Shard
    left: list[int]
    working: dict[Future[T], tuple[int, float]] = field(default_factory=dict)
    next: float = 0.0


class Gatherer:
    """Asks shards; threads may share it."""

    def __init__(
        self,
        patience: float = PATIENCE,
        latencies: Latencies | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._patience = patience
        self._latencies = latencies or Latencies()
        self._clock = clock
        self.hedged = 0
        """Second requests that were sent because a replica was late."""

    def gather(
        self, shards: Sequence[Shard], kind: str, ask: Callable[[Shard, int], Future[T]]
    ) -> dict[int, T]:
        """Return the answers by shard id; who is not among them is missing.

        Args:
            kind: what is asked, since times of one kind say nothing of another.
            ask: sends the question to one replica of a shard.

        Raises the LongleafError that a replica answered with, if it is the fault of the question and not of
        the replica.
        """
        began = self._clock()
        open_ = [
            _Asked[T](shard, self._latencies.order(shard.replicas, lambda each: (kind, each)))
            for shard in shards
        ]
        found: dict[int, T] = {}
        try:
            while open_:
                now = self._clock()
                if now - began >= self._patience:
                    for asked in open_:
                        self._give_up(asked, kind)
                    break
                for asked in open_:
                    self._send(asked, now, kind, ask)
                open_ = [asked for asked in open_ if asked.working or asked.left]
                pending = [future for asked in open_ for future in asked.working]
                ends = [began + self._patience, *(asked.next for asked in open_ if asked.left)]
                done, _ = wait(pending, max(0.0, min(ends) - self._clock()), FIRST_COMPLETED)
                for asked in open_:
                    self._take(asked, done, kind, found)
                open_ = [asked for asked in open_ if asked.shard.id not in found]
        finally:
            for asked in open_:
                for future in asked.working:
                    future.cancel()
        return found

    def _send(self, asked: _Asked[T], now: float, kind: str, ask: Callable[[Shard, int], Future[T]]) -> None:
        """Ask the next replica where none is in work, or where those that are have become late."""
        while asked.left and (not asked.working or now >= asked.next):
            replica = asked.left.pop(0)
            self.hedged += bool(asked.working)
            try:
                future = ask(asked.shard, replica)
            except Unavailable:
                self._latencies.failed((kind, replica))
                continue
            asked.working[future] = replica, now
            asked.next = now + self._latencies.wait((kind, replica))

    def _take(self, asked: _Asked[T], done: set[Future[T]], kind: str, found: dict[int, T]) -> None:
        for future in [each for each in asked.working if each in done]:
            replica, sent = asked.working.pop(future)
            try:
                found[asked.shard.id] = future.result()
            except Unavailable:
                self._latencies.failed((kind, replica))
                continue
            except LongleafError:
                raise
            except Exception:
                # a node that is lost shows in as many ways as there are places to be in at that moment
                self._latencies.failed((kind, replica))
                continue
            self._latencies.took((kind, replica), self._clock() - sent)
            for late, (slow, since) in asked.working.items():
                late.cancel()
                # it took at least so long: else who is always overtaken would never be known as slow
                self._latencies.took((kind, slow), self._clock() - since)
            return

    def _give_up(self, asked: _Asked[T], kind: str) -> None:
        for replica, _ in asked.working.values():
            self._latencies.failed((kind, replica))
