"""Router: which of several engines reads a prompt.

A prompt is cheapest where its beginning has been read already, and soonest where little waits. Both are
seconds: each engine is asked to read what it lacks after all that it was sent before, at the pace that it has
shown, and the least sum wins. So a beginning that many ask for stays on one engine until waiting there costs
more than reading it once more elsewhere, and from then on is held twice.

Knows tokens and seconds; nothing of Ray, of HTTP or of documents. One thread at a time.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count, islice

from api.cluster.router_fair import FairQueue
from api.cluster.router_holdings import Holdings
from api.cluster.router_load import Load, Work, settle

LOOKED_AT = 64
"""Requests that are looked at when an engine has room; further ones wait for the next time."""
SAME = 0.02
"""Engines whose seconds are no further apart than this share are as good as each other."""


@dataclass(frozen=True, eq=False)
class Asked:
    """A request that wants an engine.

    Attributes:
        names: of its full blocks, by `model.kv.names`.
        prompt, new: tokens to be read, and most tokens to be written.
    """

    workspace: str
    names: tuple[bytes, ...]
    prompt: int
    new: int = 0


@dataclass
class Placed:
    """A request at an engine: what was expected to be read there, and what is left.

    Attributes:
        cached: tokens that need not be read.
        waiting, writing: tokens still to be read, and that may be written.
        charged: seconds that its workspace was charged.
        sent, begun: when it was sent, and whether it has come there.
    """

    ticket: int
    engine: str
    asked: Asked
    cached: int
    waiting: int
    writing: int
    charged: float
    sent: float
    begun: bool = False


class Router:
    """The engines, what waits for them, and what was sent to each."""

    def __init__(
        self,
        block: int,
        *,
        most_waiting: int,
        most_requests: int = 64,
        seed: int = 0,
        by_prefix: bool = True,
        first: int = 1,
    ) -> None:
        """
        Args:
            block: tokens in a KV block.
            most_waiting: prompt tokens that an engine is sent ahead of time; more wait here, where they can
                still go elsewhere and in another order. An idle engine takes one request of any length.
            most_requests: requests that an engine is sent at a time.
            seed: decides between engines that are as good.
            by_prefix: whether what engines hold counts; without it they are drawn, as by any load balancer.
            first: number of the first ticket.
        """
        self._block, self._most_waiting, self._most_requests = block, most_waiting, most_requests
        self._by_prefix, self._draw = by_prefix, random.Random(seed)
        self.engines: dict[str, Load] = {}
        self._queue: FairQueue[Asked] = FairQueue()
        self._placed: dict[int, Placed] = {}
        self._numbers = count(first)
        self.reused = self.read = 0

    def add(self, engine: str, blocks: int) -> None:
        """Take an engine in, which can keep so many blocks."""
        if engine not in self.engines:
            self.engines[engine] = Load(Holdings(blocks))
            settle(self.engines.values())

    def remove(self, engine: str) -> list[Placed]:
        """An engine is gone; gives what it was sent and has not ended."""
        self.engines.pop(engine, None)
        lost = [placed for placed in self._placed.values() if placed.engine == engine]
        for placed in lost:
            del self._placed[placed.ticket]
            self._queue.charge(placed.asked.workspace, -placed.charged)
        return lost

    @property
    def waiting_tokens(self) -> int:
        """Prompt tokens that nobody has read yet, here and at the engines: what decides how many are
        needed."""
        here = sum(asked.prompt for _, asked in self._queue.order())
        return here + sum(load.waiting for load in self.engines.values())

    def ask(self, asked: Asked) -> None:
        """Let a request wait for `place`."""
        self._queue.add(asked.workspace, asked, self._cost(asked.prompt, asked.new))

    def withdraw(self, asked: Asked) -> bool:
        """Let it wait no longer; whether it did."""
        return self._queue.remove(asked.workspace, asked)

    def place(self, now: float = 0.0) -> Iterator[Placed]:
        """Send on whoever may go now. A request whose best engine is full keeps waiting for it, unless the
        others who wait for it make another the better one; those behind it may go before it, to other
        engines."""
        claimed: dict[str, float] = dict.fromkeys(self.engines, 0.0)
        for workspace, asked in list(islice(self._queue.order(), LOOKED_AT)):
            if not any(self._has_room(load) for load in self.engines.values()):
                return
            engine, cached = self._best(asked, claimed)
            load, left = self.engines[engine], asked.prompt - cached
            if not self._has_room(load, left):
                claimed[engine] += left * load.read_seconds + asked.new * load.write_seconds
                continue
            self._queue.remove(workspace, asked)
            yield self._send(asked, engine, cached, now)

    def begun(self, ticket: int) -> None:
        """A request has come to its engine."""
        if (placed := self._placed.get(ticket)) is not None:
            placed.begun = True

    def reading(self, ticket: int, cached: int) -> None:
        """An engine has begun to read, and says how much of the prompt it had."""
        placed = self._placed.get(ticket)
        if placed is None:
            return
        load, asked = self.engines[placed.engine], placed.asked
        left = max(0, asked.prompt - cached)
        load.waiting += left - placed.waiting
        placed.waiting = left
        if cached < placed.cached:
            load.holdings.lack(asked.names[cached // self._block :])
        placed.cached = cached

    def read_on(self, ticket: int, read: int) -> None:
        """An engine has read so many tokens of the prompt, those it had included; all of it: it is held
        there."""
        placed = self._placed.get(ticket)
        if placed is None:
            return
        load, left = self.engines[placed.engine], max(0, placed.asked.prompt - read)
        load.waiting += left - placed.waiting
        placed.waiting = left
        if not left:
            load.holdings.add(placed.asked.names)

    def end(self, ticket: int, written: int = 0) -> None:
        """A request is over at its engine, whatever became of it. What it really took is charged."""
        placed = self._placed.pop(ticket, None)
        if placed is None:
            return
        load, asked = self.engines[placed.engine], placed.asked
        load.waiting -= placed.waiting
        load.writing -= placed.writing
        load.requests -= 1
        read = asked.prompt - placed.cached - placed.waiting
        self.reused += placed.cached
        self.read += read
        self._queue.charge(asked.workspace, self._cost(read, written) - placed.charged)

    def learn(self, engine: str, work: Work) -> None:
        """Take up what an engine says of itself."""
        if (load := self.engines.get(engine)) is not None:
            load.learn(work)
            settle(self.engines.values())

    def stale(self, before: float) -> list[Placed]:
        """Requests sent before that time that have not come to their engine."""
        return [each for each in self._placed.values() if each.sent < before and not each.begun]

    def _send(self, asked: Asked, engine: str, cached: int, now: float) -> Placed:
        load, left = self.engines[engine], asked.prompt - cached
        charged = self._cost(left, asked.new)
        placed = Placed(next(self._numbers), engine, asked, cached, left, asked.new, charged, now)
        self._placed[placed.ticket] = placed
        load.waiting += left
        load.writing += asked.new
        load.requests += 1
        # Before it is read: whoever shares the beginning is to come here too.
        load.holdings.add(asked.names)
        self._queue.charge(asked.workspace, charged)
        return placed

    def _best(self, asked: Asked, claimed: dict[str, float]) -> tuple[str, int]:
        """The engine that would be done with reading first, and how many tokens it need not read."""
        cached = {name: self._cached(load, asked.names, asked.prompt) for name, load in self.engines.items()}
        if not self._by_prefix:
            free = [name for name, load in self.engines.items() if self._has_room(load)]
            engine = self._draw.choice(free or list(self.engines))
            return engine, cached[engine]
        seconds = {
            name: load.seconds + claimed[name] + (asked.prompt - cached[name]) * load.read_seconds
            for name, load in self.engines.items()
        }
        least = min(seconds.values())
        engine = self._draw.choice([name for name, each in seconds.items() if each <= least * (1 + SAME)])
        return engine, cached[engine]

    def _cached(self, load: Load, names: Sequence[bytes], prompt: int) -> int:
        # The last token is always computed: it gives the logits of the first new one.
        return min(load.holdings.leading(names), (prompt - 1) // self._block) * self._block

    def _has_room(self, load: Load, left: int = 0) -> bool:
        if not load.requests:
            return True
        return load.requests < self._most_requests and load.waiting + left <= self._most_waiting

    def _cost(self, read: int, written: int) -> float:
        """Seconds of an engine, at the pace of all: what fairness is counted in."""
        loads = list(self.engines.values()) or [Load(Holdings(0))]
        reading = sum(load.read_seconds for load in loads) / len(loads)
        writing = sum(load.write_seconds for load in loads) / len(loads)
        return read * reading + written * writing
