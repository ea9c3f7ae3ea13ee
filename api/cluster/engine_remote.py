"""A remote engine: `model.Engine` for who uses it, while the models are those of a cluster.

Tokenizer and chat format are here; prompts go to the engine that the router names, and events come back from
there directly. Where an engine is lost, what it had not begun to write is sent to another. An answer under
way goes on elsewhere from its tokens, if that is wanted, or ends with an error.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from torch import Tensor

from api.cluster.actor_calls import LOOK_SECONDS, SILENCE_SECONDS, ActorLost, answer_of, has_answered
from api.cluster.engine_facts import EngineFacts
from api.cluster.engine_host import Order, summed
from api.cluster.router import Asked
from api.cluster.router_host import Place
from api.cluster.router_remote import RemoteRouter
from model import Engine, Event, Finished, PrefillProgress, SamplingParams, TokenEvent
from model.errors import EngineDeadError, ModelError, ParameterError
from model.kv.names import block_names
from model.reading import Ranked
from model.stats import Stats
from rag.errors import Unavailable

T = TypeVar("T")

FETCH_SECONDS = 5.0
"""How long an engine lets who fetches events wait for the next."""
READ_SECONDS = 600.0
"""An engine is lost that has been silent for so long while it reads a prompt whose logits are wanted: that is
one answer, at the end."""
_TRIES = 4
"""Engines that may be lost under one request."""


class RemoteEngine(Engine):
    """The engines of a cluster as one. Threads may share it."""

    def __init__(
        self,
        router: Any,
        facts: EngineFacts,
        *,
        resume: bool = True,
        elsewhere: Callable[[], dict[str, Any]] = dict,
    ) -> None:
        """
        Args:
            router: the router's actor.
            facts: of its engines, which all have the same model.
            resume: whether an answer whose engine is lost goes on at another.
            elsewhere: gives the routers of other versions of the service by version: a purge reaches their
                engines too.
        """
        self._router, self._facts, self._resume = RemoteRouter(router, elsewhere), facts, resume
        self.options = facts.options
        self.config, self.tokenizer, self.chat_format = facts.config, facts.tokenizer, facts.chat_format
        self.name, self.fingerprint = facts.name, facts.fingerprint
        self.parameter_count, self.weights = facts.parameter_count, facts.weights

    def close(self) -> None:
        """Nothing is held here."""

    def flush(self, timeout: float) -> bool:  # noqa: ARG002
        """Engines of a cluster have no tier on disk."""
        return True

    @property
    def context_length(self) -> int:
        """As `Engine.context_length`."""
        return self._facts.context_length

    @property
    def device(self) -> str:
        """As `Engine.device`, there."""
        return self._facts.device

    @property
    def dtype(self) -> str:
        """As `Engine.dtype`, there."""
        return self._facts.dtype

    @property
    def failure(self) -> ModelError | None:
        """None: engines come back, and until then each request says that there is none."""
        return None

    def stats(self) -> Stats:
        """Of all engines together. Raises Unavailable."""
        return summed([*self._router.ask("state")["engines"].values()])

    def forget(self) -> None:
        """Not of a cluster: others use it too. Raises NotImplementedError."""
        raise NotImplementedError("the engines of a cluster are shared: purge by a tag")

    def purge(self, tag: str) -> int:
        """As `Engine.purge`, of every engine: complete on return. Raises Unavailable when it is not."""
        return self._router.purge(tag)

    def logits(self, ids: Sequence[int]) -> Tensor:
        """As `Engine.logits`."""
        ids = self._checked(ids, self.context_length)
        found: Tensor = self._wanted(self._read(ids, "", (), None, "logits"))
        return found

    def score(
        self,
        ids: Sequence[int],
        start: int,
        stop: int | None = None,
        *,
        salt: str = "",
        tags: Collection[str] = (),
    ) -> Tensor:
        """As `Engine.score`."""
        ids = self._checked(ids, self.context_length)
        stop = len(ids) if stop is None else stop
        found: Tensor = self._wanted(self._read(ids, salt, tags, None, "score", start, stop))
        return found

    def rank(
        self,
        ids: Sequence[int],
        k: int = 0,
        *,
        cancel: threading.Event | None = None,
        salt: str = "",
        tags: Collection[str] = (),
    ) -> Ranked | None:
        """As `Engine.rank`."""
        ids = self._checked(ids, self.context_length)
        if k < 0:
            raise ParameterError(f"k is {k}; allowed: at least 0")
        found: Ranked | None = self._read(ids, salt, tags, cancel, "rank", k)
        return found

    def generate(
        self,
        ids: Sequence[int],
        params: SamplingParams | None = None,
        *,
        cancel: threading.Event | None = None,
        on_progress: Callable[[PrefillProgress], None] | None = None,
        salt: str = "",
        tags: Collection[str] = (),
        written: Sequence[int] = (),
    ) -> Iterator[Event]:
        """As `Engine.generate`.

        Raises:
            Unavailable: `engine_lost`: the engine was lost in the middle of the answer; `engine_unavailable`:
                there is none.
        """
        prompt = self._checked(ids, self.context_length - 1)
        params = params or SamplingParams()
        params.check_vocabulary(self.tokenizer.vocab_size)
        if params.seed is None:
            # Another engine can go on only where the next draw is known.
            params = replace(params, seed=secrets.randbelow(2**63))
        order = Order(0, prompt, ("", 0), salt, frozenset(tags), params, tuple(written))
        return self._events(order, cancel or threading.Event(), on_progress)

    def _events(
        self, order: Order, cancel: threading.Event, on_progress: Callable[[PrefillProgress], None] | None
    ) -> Iterator[Event]:
        text: list[str] = []
        for left in reversed(range(_TRIES)):
            place = self._place(order, cancel)
            if place is None:
                yield Finished("cancelled", len(order.ids), 0, len(order.written), "".join(text))
                return
            order = replace(order, ticket=place.ticket, stamp=place.stamp)
            try:
                for event in self._fetched(place, order, cancel):
                    if isinstance(event, PrefillProgress):
                        if text:
                            continue  # the prompt is read once more, after part of the answer was shown
                        if on_progress:
                            on_progress(event)
                    elif isinstance(event, TokenEvent):
                        order = replace(order, written=(*order.written, event.token_id))
                        text.append(event.text)
                    yield event
                    if isinstance(event, Finished):
                        return
            except ActorLost as error:
                self._router.lost(place.name)
                if not left or (order.written and not self._resume):
                    raise Unavailable(
                        f"An engine was lost while it wrote this answer ({error}); ask again.",
                        code="engine_lost",
                    ) from error

    def _fetched(self, place: Place, order: Order, cancel: threading.Event) -> Iterator[Event]:
        """Events of one engine; leaving before the last one ends the request there."""
        ended = False
        try:
            answer_of(place.engine.begin.remote(order), SILENCE_SECONDS)
            while True:
                fetching = place.engine.fetch.remote(order.ticket, FETCH_SECONDS)
                items = self._awaited(place, order, cancel, fetching, FETCH_SECONDS + SILENCE_SECONDS)
                if items is None:
                    raise ActorLost("it has forgotten the request")
                for item in items:
                    if isinstance(item, ModelError):
                        ended = True
                        raise ActorLost(str(item)) if isinstance(item, EngineDeadError) else item
                    ended = ended or isinstance(item, Finished)
                    yield item
                    if ended:
                        return
        finally:
            if not ended:
                place.engine.cancel.remote(order.ticket)

    def _read(
        self,
        ids: list[int],
        salt: str,
        tags: Collection[str],
        cancel: threading.Event | None,
        method: str,
        *more: int,
    ) -> Any:
        """What an engine makes of a prompt that is read and not continued; None when cancelled."""
        cancel = cancel or threading.Event()
        order = Order(0, ids, ("", 0), salt, frozenset(tags))
        for left in reversed(range(_TRIES)):
            place = self._place(order, cancel)
            if place is None:
                return None
            order = replace(order, ticket=place.ticket, stamp=place.stamp)
            try:
                reading = getattr(place.engine, method).remote(order, *more)
                return self._awaited(place, order, cancel, reading, READ_SECONDS)
            except ActorLost as error:
                self._router.lost(place.name)
                if not left:
                    raise Unavailable(
                        f"Engines were lost ({error}); ask again.", code="engine_lost"
                    ) from error
        return None

    def _awaited(
        self, place: Place, order: Order, cancel: threading.Event, reference: Any, seconds: float
    ) -> Any:
        """What the engine answers; it is told when `cancel` is set meanwhile. Raises as `answer_of`."""
        end, told = time.monotonic() + seconds, False
        while True:
            if cancel.is_set() and not told:
                place.engine.cancel.remote(order.ticket)
                told = True
            if has_answered(reference) or time.monotonic() > end:
                return answer_of(reference, LOOK_SECONDS)

    def _place(self, order: Order, cancel: threading.Event) -> Place | None:
        """Where the router sends a prompt; None when cancelled while it waited. Raises Unavailable."""
        new = 0 if order.params is None else order.params.max_tokens - len(order.written)
        names = block_names(order.ids, self._facts.block, self.fingerprint.encode(), order.salt)
        return self._router.place(Asked(order.salt, tuple(names), len(order.ids), new), cancel)

    @staticmethod
    def _wanted(found: T | None) -> T:
        if found is None:
            raise RuntimeError("a request that nobody can cancel was cancelled")
        return found
