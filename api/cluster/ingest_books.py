"""The desk's books: which leases are out, which actor has what of them, and whom nothing was heard of."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Literal

from api.cluster.ingest_messages import Hand
from ingest.leases import Lease

READING = -1
"""The number of a lease's place before it has parts."""
SILENT_SECONDS = 30.0
"""An actor that was not heard of for so long is taken for dead, though its node is there."""
TRANSIT_SECONDS = 120.0
"""So long may a part lie between two actors."""

Why = Literal["node", "actor", "transit"]


@dataclass
class _Place:
    """Where a lease, or a part of it, is: with a hand, or on a node between two."""

    node: str
    hand: Hand | None
    since: float


@dataclass
class _Entry:
    lease: Lease
    places: dict[int, _Place] = field(default_factory=dict)


class Books:
    """Who has what; threads may share it."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._entries: dict[str, _Entry] = {}
        self._heard: dict[Hand, float] = {}
        self._lives: dict[str, str] = {}

    def hear(self, hand: Hand) -> None:
        """Note a sign of life; a new life of an actor means that the one before is over."""
        with self._lock:
            self._heard[hand] = self._clock()
            self._lives[hand.actor] = hand.life

    def take(self, lease: Lease, hand: Hand) -> None:
        """Enter a lease that a hand begins to read."""
        with self._lock:
            self._entries[lease.token] = _Entry(lease, {READING: _Place(hand.node, hand, self._clock())})

    def split(self, lease: Lease, numbers: Iterable[int], node: str) -> None:
        """Put parts in place of a lease that was read; they lie on the node until somebody claims them."""
        with self._lock:
            if entry := self._entries.get(lease.token):
                entry.places = {number: _Place(node, None, self._clock()) for number in numbers}

    def claim(self, lease: Lease, number: int, hand: Hand) -> bool:
        """Give a part to a hand; False when it is not wanted any more."""
        with self._lock:
            entry = self._entries.get(lease.token)
            if entry is None or number not in entry.places:
                return False
            entry.places[number] = _Place(hand.node, hand, self._clock())
            return True

    def close(self, lease: Lease, number: int) -> None:
        """A part is done; the lease stays."""
        with self._lock:
            if entry := self._entries.get(lease.token):
                entry.places.pop(number, None)

    def drop(self, lease: Lease) -> bool:
        """Forget a lease; False when it is not here."""
        with self._lock:
            return self._entries.pop(lease.token, None) is not None

    def leases(self) -> list[Lease]:
        """All that are out."""
        with self._lock:
            return [entry.lease for entry in self._entries.values()]

    def of(self, hand: Hand) -> list[str]:
        """The tokens of the leases that a hand has in work."""
        with self._lock:
            return [
                token
                for token, entry in self._entries.items()
                if any(place.hand == hand for place in entry.places.values())
            ]

    def counts(self) -> tuple[int, int]:
        """Leases that are out, and those of them that some hand works on."""
        with self._lock:
            busy = sum(
                any(place.hand is not None for place in entry.places.values())
                for entry in self._entries.values()
            )
            return len(self._entries), busy

    def orphans(self, alive: set[str]) -> list[tuple[Lease, Why]]:
        """Take out the leases nobody works on any more, with the reason; `alive` are the nodes there are."""
        with self._lock:
            found: list[tuple[Lease, Why]] = []
            for token, entry in list(self._entries.items()):
                reasons = {self._lost(place, alive) for place in entry.places.values()}
                for why in ("node", "actor", "transit"):
                    if why in reasons:
                        del self._entries[token]
                        found.append((entry.lease, why))
                        break
            return found

    def _lost(self, place: _Place, alive: set[str]) -> Why | None:
        at = self._clock()
        if place.node not in alive:
            return "node"
        if place.hand is None:
            return "transit" if at - place.since > TRANSIT_SECONDS else None
        over = self._lives.get(place.hand.actor, place.hand.life) != place.hand.life
        silent = at - self._heard.get(place.hand, place.since) > SILENT_SECONDS
        return "actor" if over or silent else None
