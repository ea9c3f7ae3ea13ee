"""Engines on the nodes of a cluster with streams under way, and what holds of both whatever is lost."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError

from api.cluster.engine_facts import EnginePlan
from api.cluster.engine_host import Order
from api.cluster.engine_ray import connect, start_engine, the_router
from api.cluster.engine_remote import RemoteEngine
from api.cluster.router_host import Place
from model import EngineOptions, Finished, PrefillProgress, SamplingParams, TokenEvent
from rag.errors import Unavailable
from tests.cluster.ray_nodes import Nodes
from tests.cluster.tiny_model import write_tiny
from tests.faults.checks import Violation

OPTIONS = EngineOptions(chunk=32, block_size=16, kv_tokens=16_384, speculate=False)
QUESTIONS = 8
HANGS = 150.0
"""Seconds after which a stream that brings nothing hangs: longer than four lost engines in a row take."""
SETTLES = 90.0
"""Seconds in which nothing may be left of requests that are over; the router forgets them after 60."""


@dataclass(frozen=True)
class Question:
    """A seeded request; `resume` is the setting that it is asked under."""

    ids: tuple[int, ...]
    params: SamplingParams
    salt: str
    tag: str
    resume: bool


@dataclass(frozen=True)
class Running:
    """An engine of the cluster, where it is and as which process."""

    host: Any
    node: str
    pid: int


@dataclass(eq=False)
class Stream:
    """A stream under way."""

    question: int
    moved: float
    tokens: int = 0


def prompt(number: int, length: int = 100) -> tuple[int, ...]:
    """Token ids that no other number begins with."""
    return tuple((number * 31 + place * place) % 400 + 20 for place in range(length))


class _Counted(RemoteEngine):
    """Counts the engines that a request of this thread was sent to."""

    tries = threading.local()

    def _place(self, order: Order, cancel: threading.Event) -> Place | None:
        self.tries.count = getattr(self.tries, "count", 0) + 1
        return super()._place(order, cancel)


class GenerationWorld:
    """One engine on each worker node behind one router, and the same engine here."""

    def __init__(self, nodes: Nodes, folder: Path) -> None:
        self.nodes = nodes
        self.plan = EnginePlan(str(write_tiny(folder)), "cpu", "float32", OPTIONS)
        self.questions = [self._question(number) for number in range(QUESTIONS)]
        self.expected = self._alone()
        self.router = the_router(2048)
        self.running: list[Running] = []
        for _ in nodes.workers:
            self.start()
        facts = connect(self.router, resume=True, seconds=180)._facts
        self._ways = {resume: _Counted(self.router, facts, resume=resume) for resume in (True, False)}
        self.remote: RemoteEngine = self._ways[True]
        self.open: set[Stream] = set()
        self.ended: Counter[str] = Counter()
        self.wrong: list[BaseException] = []

    @staticmethod
    def _question(number: int) -> Question:
        heat = 0.8 if number % 2 else 0.0
        params = SamplingParams(
            max_tokens=400 + 150 * (number % 4), ignore_eos=True, temperature=heat, seed=number
        )
        return Question(prompt(number), params, f"w{number % 2}", f"doc{number}", resume=number % 4 != 3)

    def _alone(self) -> list[list[int]]:
        """What one engine without a cluster writes."""
        engine = self.plan.load()

        def write(question: Question) -> list[int]:
            return [
                event.token_id
                for event in engine.generate(question.ids, question.params)
                if isinstance(event, TokenEvent)
            ]

        try:
            with ThreadPoolExecutor(QUESTIONS) as threads:
                return list(threads.map(write, self.questions))
        finally:
            engine.close()

    def start(self, **options: Any) -> Running:
        """One more engine, on a worker node that has none."""
        given = {"num_cpus": 0.1, "resources": {"worker": 2}} | options
        host = start_engine(self.plan, self.router, **given)
        node, pid = ray.get(
            host.__ray_call__.remote(lambda _: (ray.get_runtime_context().get_node_id(), os.getpid())),
            timeout=240,
        )
        self.running.append(Running(host, node, pid))
        return self.running[-1]

    def state(self) -> dict[str, Any]:
        """As the router says."""
        return dict(self.remote._router.ask("state"))

    def until(self, holds: Callable[[], bool], what: str, seconds: float = HANGS) -> float:
        """Wait for something; return how long it took. Raises Violation."""
        began = time.monotonic()
        while not holds():
            if self.wrong:
                raise self.wrong[0]
            if time.monotonic() - began > seconds:
                raise Violation(f"not within {seconds:.0f} s: {what}")
            time.sleep(0.05)
        return time.monotonic() - began

    @contextmanager
    def asking(self, threads: int = 6) -> Iterator[None]:
        """Ask all the time. At the end no stream hangs, and none ended otherwise than it may."""
        stop = threading.Event()

        def ask(number: int) -> None:
            while not stop.is_set():
                try:
                    self.ended[self.stream(number % QUESTIONS)] += 1
                except BaseException as error:
                    self.wrong.append(error)
                    return
                number += 1

        asking = [threading.Thread(target=ask, args=(number,), daemon=True) for number in range(threads)]
        for thread in asking:
            thread.start()
        try:
            yield
        finally:
            stop.set()
            while any(thread.is_alive() for thread in asking) and not self.wrong:
                if hanging := [each for each in self.open if time.monotonic() - each.moved > HANGS]:
                    raise Violation(f"a stream hangs after {hanging[0].tokens} tokens")
                time.sleep(0.05)
        if self.wrong:
            raise self.wrong[0]

    def stream(self, number: int) -> str:
        """Ask one question to its end: `same`, `resumed`, `sent again` or `engine_lost`. Raises Violation."""
        question, way = self.questions[number], self._ways[self.questions[number].resume]
        stream = Stream(number, time.monotonic())
        way.tries.count = 0
        written: list[int] = []
        self.open.add(stream)
        try:
            end = None
            for event in way.generate(question.ids, question.params, salt=question.salt, tags={question.tag}):
                stream.moved = time.monotonic()
                if isinstance(event, TokenEvent):
                    written.append(event.token_id)
                    stream.tokens += 1
                end = event
        except Unavailable as error:
            if error.code != "engine_lost" or question.resume:
                raise Violation(f"a stream (resume: {question.resume}) ended with {error!r}") from error
            if written != self.expected[number][: len(written)]:
                raise Violation(f"question {number} began with other tokens before it was lost") from error
            return "engine_lost"
        finally:
            self.open.discard(stream)
        if not isinstance(end, Finished) or end.reason != "length" or written != self.expected[number]:
            raise Violation(f"question {number} got other tokens after {way.tries.count} engines, or no end")
        if way.tries.count == 1:
            return "same"
        # without resuming it was lost before it had begun to write, which is no answer under way
        return "resumed" if question.resume else "sent again"

    def router_node(self) -> str:
        """Where the router is."""
        where = self.router.__ray_call__.remote(lambda _: ray.get_runtime_context().get_node_id())
        return str(ray.get(where, timeout=60))

    def busy(self) -> list[Running]:
        """Engines that are writing."""
        found = []
        for each in self.running:
            try:
                if ray.get(each.host.stats.remote(), timeout=30).running:
                    found.append(each)
            except RayError:
                continue
        return found

    def whole(self) -> bool:
        """Whether the router has every engine that was started, and no other."""
        return len(self.state()["engines"]) == len(self.running)

    def settled(self) -> str:
        """What is left of requests although none is under way; empty where nothing is."""
        state = self.state()
        if state["waiting_requests"] or state["waiting_tokens"]:
            return f"the router has {state['waiting_requests']} waiting, {state['waiting_tokens']} tokens"
        placed = ray.get(self.router.__ray_call__.remote(lambda it: len(it._router._placed)), timeout=60)
        if placed:
            return f"the router believes that {placed} requests are at engines"
        for each in self.running:
            stats = ray.get(each.host.stats.remote(), timeout=60)
            held = ray.get(each.host.__ray_call__.remote(lambda it: len(it._tags) + len(it._cancels)))
            if stats.running or stats.waiting or held:
                return f"an engine has {stats.running} running, {stats.waiting} waiting, {held} remembered"
            if stats.blocks_free != stats.blocks:
                return f"an engine has {stats.blocks - stats.blocks_free} blocks in use"
        return ""

    def check(self) -> None:
        """Nothing is left behind, and a purge reaches every engine. Raises Violation."""
        self.until(self.whole, "the router has all engines", 120)
        end = time.monotonic() + SETTLES
        while left := self.settled():
            if time.monotonic() > end:
                raise Violation(f"after {SETTLES:.0f} s {left}")
            time.sleep(0.25)
        for tag, seed in (("gone", 900), ("kept", 901)):
            for each in self.running:
                self.reused(each, tag, seed)
                if not self.reused(each, tag, seed):
                    raise Violation("an engine does not find what it has just read")
        self.remote.purge("gone")
        for each in self.running:
            if self.reused(each, "gone", 900):
                raise Violation("an engine still finds what was purged")
            if not self.reused(each, "kept", 901):
                raise Violation("a purge of one document took another along")
        self.remote.purge("kept")

    def reused(self, engine: Running, tag: str, number: int) -> int:
        """How many tokens of a prompt an engine need not read, as it says itself when it is asked to read."""
        stamp = ray.get(self.router.__ray_call__.remote(lambda it: it._stamp), timeout=60)
        params = SamplingParams(max_tokens=1, ignore_eos=True)
        ticket = time.monotonic_ns()  # one that the router does not know
        order = Order(ticket, prompt(number), stamp, "check", frozenset({tag}), params)
        ray.get(engine.host.begin.remote(order), timeout=60)
        cached = None
        while (events := ray.get(engine.host.fetch.remote(ticket, 5.0), timeout=60)) is not None:
            for event in events:
                if isinstance(event, PrefillProgress) and cached is None:
                    cached = event.cached
        if cached is None:
            raise Violation("an engine took a prompt and never read it")
        return cached

    def close(self) -> None:
        """End the engines and the router."""
        for each in self.running:
            ray.kill(each.host)
        ray.kill(self.router)
