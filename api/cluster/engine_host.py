"""Host: one engine of the cluster, as an actor. It loads a model, announces itself, and works for who
asks."""

from __future__ import annotations

import asyncio
import logging
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, TypeVar

from api.cluster.engine_facts import EngineFacts, EnginePlan
from api.cluster.engine_outbox import Outbox
from api.cluster.router_load import Work
from model import Event, PrefillProgress, SamplingParams, TokenEvent
from model.errors import EngineDeadError, ModelError
from model.reading import Ranked
from model.stats import Stats

if TYPE_CHECKING:
    from torch import Tensor

log = logging.getLogger(__name__)
T = TypeVar("T")

BEAT_SECONDS = 1.0
"""How often an engine says that it is there, and what it has done."""
ABANDONED_SECONDS = 30.0
"""A generation whose events nobody fetches for so long is ended: who asked for it is gone."""
_THREADS = 256
_TAGS = 100_000
"""Purged tags that are remembered, for requests that were asked for before."""

Stamp = tuple[str, int]
"""Which router counts the purges, and how many there were."""


@dataclass(frozen=True)
class Order:
    """What an engine is to read, and to continue where there is something to write.

    Attributes:
        ticket: the router's number of it.
        stamp: of the moment when it was asked for.
        written: what a lost engine has written of it.
    """

    ticket: int
    ids: Sequence[int]
    stamp: Stamp
    salt: str
    tags: frozenset[str]
    params: SamplingParams | None = None
    written: tuple[int, ...] = ()


class EngineHost:
    """Everything that others ask of an engine, as methods of an actor."""

    def __init__(self, plan: EnginePlan, router: Any) -> None:
        """Load the engine, which takes a while. `router` is the router's actor. Raises as `Engine.load`."""
        self._router = router
        self._engine = plan.load()
        self._facts = EngineFacts.of(self._engine)
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="generation")
        self._boxes: dict[int, Outbox] = {}
        self._cancels: dict[int, threading.Event] = {}
        self._tags: dict[int, frozenset[str]] = {}
        self._purged: OrderedDict[str, Stamp] = OrderedDict()
        self._stamp: Stamp | None = None
        self._name = ""
        self._beating: asyncio.Task[None] | None = None

    async def announce(self, name: str, me: Any) -> EngineFacts:
        """Begin to say that this engine is there, as an actor `me` of that name."""
        self._name = name
        if self._beating is None:
            self._beating = asyncio.create_task(self._beat(name, me))
        return self._facts

    async def begin(self, order: Order) -> None:
        """Begin a generation, whose events `fetch` gives. Raises ModelError as `Engine.generate`."""
        self._check()
        self._begun(order)
        box = self._boxes[order.ticket] = Outbox(asyncio.get_running_loop())

        def work() -> None:
            box.fill(lambda cancel: self._generate(order, cancel))

        self._threads.submit(work)

    async def fetch(self, ticket: int, seconds: float) -> list[Event | ModelError] | None:
        """Events of a generation, see `Outbox.fetch`; None also of one that is not known (any more)."""
        box = self._boxes.get(ticket)
        found = None if box is None else await box.fetch(seconds)
        if found is None:
            self._boxes.pop(ticket, None)
        return found

    async def cancel(self, ticket: int) -> None:
        """End a generation, or the reading of a prompt, before its next step."""
        if (box := self._boxes.get(ticket)) is not None:
            box.cancel.set()
        if (event := self._cancels.get(ticket)) is not None:
            event.set()

    async def score(self, order: Order, start: int, stop: int) -> Tensor:
        """As `Engine.score`."""
        return await self._read(
            order, lambda salt, _: self._engine.score(order.ids, start, stop, salt=salt, tags=order.tags)
        )

    async def rank(self, order: Order, k: int) -> Ranked | None:
        """As `Engine.rank`; `cancel` ends it."""
        return await self._read(
            order,
            lambda salt, cancel: self._engine.rank(order.ids, k, cancel=cancel, salt=salt, tags=order.tags),
        )

    async def logits(self, order: Order) -> Tensor:
        """As `Engine.logits`."""
        return await self._read(order, lambda _, __: self._engine.logits(order.ids))

    async def purge(self, tag: str, stamp: Stamp) -> int:
        """As `Engine.purge`; what was asked for before `stamp` and comes later keeps nothing of it either."""
        self._purged[tag] = stamp
        self._purged.move_to_end(tag)
        while len(self._purged) > _TAGS:
            self._purged.popitem(last=False)
        found = await asyncio.to_thread(self._engine.purge, tag)
        self._stamp = stamp
        return found

    async def forget(self) -> None:
        """Nothing that was read can be found, nor will what is being read."""
        for tag in {tag for tags in self._tags.values() for tag in tags}:
            await asyncio.to_thread(self._engine.purge, tag)
        await asyncio.to_thread(self._engine.forget)

    async def retire(self) -> tuple[int, bool]:
        """Be sent nothing more as soon as another engine is there; may be called again and again.

        Returns how many requests are in work here, and whether others take what comes.
        """
        replaced = bool(await self._router.retire.remote(self._name))
        return len(self._tags) + sum(box.open for box in self._boxes.values()), replaced

    async def leave(self) -> None:
        """Say that this engine is gone."""
        if self._beating is not None:
            self._beating.cancel()
        await self._router.lost.remote(self._name)

    async def check(self) -> None:
        """Raises EngineDeadError where the engine has failed for good."""
        self._check()

    async def stats(self) -> Stats:
        """As `Engine.stats`."""
        return self._engine.stats()

    def _begun(self, order: Order) -> None:
        self._tags[order.ticket] = order.tags
        self._router.begun.remote(order.ticket)

    def _check(self) -> None:
        if (failure := self._engine.failure) is not None:
            raise EngineDeadError(f"the engine has failed and takes no requests: {failure}")

    async def _read(self, order: Order, work: Callable[[str, threading.Event], T]) -> T:
        """Read a prompt that is not continued, in a thread."""
        self._check()
        cancel = self._cancels[order.ticket] = threading.Event()
        salt, late = self._salted(order)
        self._begun(order)
        try:
            found = await asyncio.get_running_loop().run_in_executor(self._threads, work, salt, cancel)
            self._router.read_on.remote(order.ticket, len(order.ids))
            return found
        finally:
            del self._cancels[order.ticket]
            self._tags.pop(order.ticket, None)
            self._router.end.remote(order.ticket, 0)
            for tag in late:
                await asyncio.to_thread(self._engine.purge, tag)

    def _generate(self, order: Order, cancel: threading.Event) -> Iterator[Event]:
        """The engine's events, which tell the router how far it is."""
        written, began = 0, False
        salt, late = self._salted(order)
        try:
            for event in self._engine.generate(
                order.ids,
                order.params,
                cancel=cancel,
                salt=salt,
                tags=order.tags,
                written=order.written,
            ):
                if isinstance(event, PrefillProgress):
                    if not began:
                        self._router.reading.remote(order.ticket, event.cached)
                    self._router.read_on.remote(order.ticket, event.read)
                    began = True
                elif isinstance(event, TokenEvent):
                    written += 1
                yield event
        finally:
            self._tags.pop(order.ticket, None)
            self._router.end.remote(order.ticket, written)
            for tag in late:
                self._engine.purge(tag)

    def _salted(self, order: Order) -> tuple[str, list[str]]:
        """The salt of an order, and which of its tags were purged since it was asked for: then the salt is
        one that nobody else has, and what was read is purged again at the end.

        Numbers of one router tell what came first. Between those of two, an order of the router that this
        engine has come to came after all purges of routers before it, for then all was forgotten; of an
        order of another router nobody can tell.
        """
        epoch, number = order.stamp
        known = self._stamp is not None and self._stamp[0] == epoch
        late = []
        for tag in order.tags:
            purged = self._purged.get(tag)
            if purged is not None and (purged[1] > number if purged[0] == epoch else not known):
                late.append(tag)
        return (secrets.token_hex(16) if late else order.salt), late

    async def _beat(self, name: str, me: Any) -> None:
        while self._engine.failure is None:
            stats = self._engine.stats()
            # a purge may come while the router answers, and is no reason to forget what it left
            sent = self._stamp
            try:
                said = await self._router.beat.remote(name, me, self._facts, stats, sent)
                if said != sent:
                    # It was not there when something was purged, or the router is a new one that cannot tell.
                    await self.forget()
                    self._stamp = said
                    continue
            except Exception as error:  # the router is being started anew
                log.warning("the router does not answer: %s", error)
            for box in [*self._boxes.values()]:
                if time.monotonic() - box.fetched > ABANDONED_SECONDS:
                    box.cancel.set()
            self._boxes = {
                ticket: box
                for ticket, box in self._boxes.items()
                if time.monotonic() - box.fetched < 2 * ABANDONED_SECONDS
            }
            await asyncio.sleep(BEAT_SECONDS)


def work_of(stats: Stats) -> Work:
    """What the router learns an engine's pace from."""
    return Work(
        stats.prompt_tokens - stats.cached_tokens,
        stats.new_tokens,
        stats.reading_seconds,
        stats.writing_seconds,
    )


def summed(all_stats: Sequence[Stats]) -> Stats:
    """The figures of several engines as those of one."""
    first, *rest = all_stats or [Stats(0, 0, 0, 0, 0, 0)]
    added = {field.name for field in fields(Stats)} - {"block_size", "tiers"}
    sums = {name: getattr(first, name) + sum(getattr(each, name) for each in rest) for name in added}
    return replace(first, **sums, tiers={})
