"""The router as an actor: who is there, who waits, who was sent where; and purges, which reach every
engine."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from dataclasses import dataclass, field
from typing import Any

from api.cluster.engine_facts import EngineFacts
from api.cluster.engine_host import Stamp, work_of
from api.cluster.router import Asked, Router
from model.errors import EngineDeadError
from model.stats import Stats

log = logging.getLogger(__name__)

SILENT_SECONDS = 10.0
"""An engine that was not heard of for so long is sent nothing until it is heard of again."""
STALE_SECONDS = 60.0
"""A request that nobody brought to its engine within that time: who asked for it is gone."""
NONE_SECONDS = 30.0
"""How long requests wait for a first engine."""
PURGE_SECONDS = 60.0
"""An engine that has not purged within that time is ended, so that it holds nothing any more."""


@dataclass(frozen=True)
class Place:
    """Where a request goes; None as its engine: there is none, nor was there for a while."""

    ticket: int
    name: str
    engine: Any
    stamp: Stamp


@dataclass
class _Known:
    handle: Any
    facts: EngineFacts
    stats: Stats
    heard: float
    retires: bool = False


@dataclass
class _Waiting:
    asked: Asked
    stamp: Stamp
    place: asyncio.Future[Place | None] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )


class RouterHost:
    """All methods run on one event loop, so that the router needs no lock."""

    def __init__(
        self, most_waiting: int, most_requests: int = 64, *, by_prefix: bool = True, seed: int = 0
    ) -> None:
        """Arguments as of `Router`."""
        self._how: dict[str, Any] = {
            "most_waiting": most_waiting,
            "most_requests": most_requests,
            "by_prefix": by_prefix,
            "seed": seed,
        }
        self._router: Router | None = None
        self._known: dict[str, _Known] = {}
        self._waiting: dict[str, _Waiting] = {}
        self._by_asked: dict[Asked, str] = {}
        self._epoch, self._purges = secrets.token_hex(8), 0
        self._empty_since = time.monotonic()
        self._watching: asyncio.Task[None] | None = None

    @property
    def _stamp(self) -> Stamp:
        return self._epoch, self._purges

    async def beat(
        self, name: str, engine: Any, facts: EngineFacts, stats: Stats, stamp: Stamp | None
    ) -> Stamp:
        """An engine is there. It is sent something if its `stamp` is the one that is answered; otherwise it
        has to forget what it has read first.

        Raises:
            ValueError: it has another model than those that are there.
        """
        self._watch()
        now = time.monotonic()
        other = next(iter(self._known.values()), None)
        if other is not None and other.facts.fingerprint != facts.fingerprint:
            raise ValueError(
                f"{name} has the model {facts.name}, the engines that are there have {other.facts.name}: "
                "give it the same, or a router of its own"
            )
        if name not in self._known and stamp != self._stamp:
            return self._stamp
        if self._router is None:
            first = secrets.randbits(40) << 20  # no ticket of a router before this one is given again
            self._router = Router(facts.block, first=first, **self._how)
            for waiting in self._waiting.values():
                self._router.ask(waiting.asked)
        new = name not in self._known
        known = self._known.setdefault(name, _Known(engine, facts, stats, now))
        known.stats, known.heard = stats, now
        if known.retires and self._others(name):
            self._router.remove(name)  # what it was sent it goes on with
        else:
            self._router.add(name, facts.blocks)
            self._router.learn(name, work_of(stats))
        if new:
            log.info("engine %s is there", name)
            self._place()
        # One that is known has been told of every purge, or was ended.
        return stamp if stamp is not None else self._stamp

    async def facts(self, seconds: float) -> EngineFacts | None:
        """Of any engine, waited for so long; None if there was none."""
        end = time.monotonic() + seconds
        while not self._known and time.monotonic() < end:
            await asyncio.sleep(0.1)
        return next((known.facts for known in self._known.values()), None)

    async def ask(self, request: str, asked: Asked) -> Place | None:
        """Where a request is to go, once it is its turn; None where there is no engine, or it was
        withdrawn."""
        self._watch()
        waiting = self._waiting[request] = _Waiting(asked, self._stamp)
        # As an object of its own: a copy of it may be on its way from another process.
        self._by_asked[asked] = request
        try:
            if self._router is not None:
                self._router.ask(asked)
                self._place()
            return await waiting.place
        finally:
            del self._waiting[request]
            del self._by_asked[asked]

    async def withdraw(self, request: str) -> None:
        """Who asked does not want to be sent anywhere any more."""
        if (waiting := self._waiting.get(request)) is not None:
            if self._router is not None:
                self._router.withdraw(waiting.asked)
            if not waiting.place.done():
                waiting.place.set_result(None)

    async def begun(self, ticket: int) -> None:
        """As `Router.begun`."""
        if self._router is not None:
            self._router.begun(ticket)

    async def reading(self, ticket: int, cached: int) -> None:
        """As `Router.reading`."""
        if self._router is not None:
            self._router.reading(ticket, cached)

    async def read_on(self, ticket: int, read: int) -> None:
        """As `Router.read_on`."""
        if self._router is not None:
            self._router.read_on(ticket, read)
            self._place()

    async def end(self, ticket: int, written: int) -> None:
        """As `Router.end`."""
        if self._router is not None:
            self._router.end(ticket, written)
            self._place()

    async def lost(self, name: str) -> None:
        """Somebody could not reach an engine."""
        self._drop(name, "could not be reached")

    async def retire(self, name: str) -> bool:
        """An engine is to end: it is sent nothing more once there are others, and purges still reach it.

        Returns whether there are others.
        """
        known = self._known.get(name)
        if known is not None and not known.retires:
            known.retires = True
            log.info("engine %s is to end", name)
        if self._router is not None and self._others(name):
            self._router.remove(name)
            self._place()
            return True
        return False

    async def purge(self, tag: str) -> int:
        """As `Engine.purge`, of every engine there is. It is complete on return: an engine that did not purge
        is gone, and one that was away forgets all before it is sent anything."""
        self._purges += 1
        stamp = self._stamp
        names = [*self._known]
        calls = (self._purge(name, tag, stamp) for name in names)
        return sum(await asyncio.gather(*calls))

    async def state(self) -> dict[str, Any]:
        """Engines with their figures, and the tokens that wait."""
        router = self._router
        return {
            "engines": {name: known.stats for name, known in self._known.items()},
            "waiting_tokens": 0 if router is None else router.waiting_tokens,
            "waiting_requests": len(self._waiting),
            "reused": 0 if router is None else router.reused,
            "read": 0 if router is None else router.read,
        }

    async def _purge(self, name: str, tag: str, stamp: Stamp) -> int:
        from ray.exceptions import RayTaskError  # noqa: PLC0415

        known = self._known.get(name)
        if known is None:
            return 0
        try:
            return int(await asyncio.wait_for(known.handle.purge.remote(tag, stamp), PURGE_SECONDS))
        except RayTaskError as error:
            if not isinstance(error.cause, EngineDeadError):
                raise error.cause from None
            self._drop(name, "has failed")
            return 0
        except Exception as error:  # it is lost, or does not answer: then it shall be lost
            self._drop(name, f"did not purge: {error!r}")
            self._kill(known.handle)
            return 0

    @staticmethod
    def _kill(handle: Any) -> None:
        import ray  # noqa: PLC0415

        ray.kill(handle)

    def _place(self) -> None:
        if self._router is None:
            return
        for placed in self._router.place(time.monotonic()):
            request = self._by_asked.get(placed.asked)
            waiting = None if request is None else self._waiting[request]
            if waiting is None or waiting.place.done():
                self._router.end(placed.ticket)
                continue
            handle = self._known[placed.engine].handle
            waiting.place.set_result(Place(placed.ticket, placed.engine, handle, waiting.stamp))

    def _others(self, name: str) -> bool:
        return any(not known.retires for other, known in self._known.items() if other != name)

    def _drop(self, name: str, why: str) -> None:
        if self._known.pop(name, None) is None:
            return
        log.warning("engine %s %s", name, why)
        if self._router is not None:
            self._router.remove(name)
            self._place()
        if not self._known:
            self._empty_since = time.monotonic()

    def _watch(self) -> None:
        if self._watching is None:
            self._watching = asyncio.get_running_loop().create_task(self._look())

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(1.0)
            now = time.monotonic()
            for name in [name for name, known in self._known.items() if now - known.heard > SILENT_SECONDS]:
                self._drop(name, "is silent")
            if self._router is not None:
                for placed in self._router.stale(now - STALE_SECONDS):
                    self._router.end(placed.ticket)
                self._place()
            if not self._known and now - self._empty_since > NONE_SECONDS:
                for waiting in self._waiting.values():
                    if not waiting.place.done():
                        if self._router is not None:
                            self._router.withdraw(waiting.asked)
                        waiting.place.set_result(None)
