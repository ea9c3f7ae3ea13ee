"""A fleet: simulated engines behind the router that the service has."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from api.cluster.router import Asked, Placed, Router
from api.cluster.router_load import Work
from bench.scale.clock import Clock
from bench.scale.engine import Job, Shape, SimulatedEngine
from bench.scale.pace import Pace
from bench.scale.workload import Question, names_of

LEARN_SECONDS = 1.0
"""How often an engine tells the router what it has done."""


@dataclass
class _Member:
    engine: SimulatedEngine
    working: bool = False
    told: float = 0.0


class Fleet:
    """Takes questions, and says when the first and the last token of each came."""

    def __init__(
        self, clock: Clock, engines: int, pace: Pace, shape: Shape, *, router: Router, hop: float
    ) -> None:
        """`hop` is the time of a message between two processes of the cluster."""
        self._clock, self._shape, self._hop, self.router = clock, shape, hop, router
        self._members = {f"engine {n}": _Member(SimulatedEngine(pace, shape)) for n in range(engines)}
        self._done: dict[Asked, Callable[[Job], None]] = {}
        for name in self._members:
            router.add(name, shape.blocks)

    @property
    def engines(self) -> list[SimulatedEngine]:
        """All of them."""
        return [member.engine for member in self._members.values()]

    def ask(self, question: Question, done: Callable[[Job], None]) -> None:
        """A question has come to the router; `done` is called with its job when its last token is written."""
        asked = Asked(
            question.workspace, names_of(question, self._shape.block), question.prompt, question.new
        )
        self._done[asked] = done
        self.router.ask(asked)
        self._place()

    def _place(self) -> None:
        for placed in self.router.place(self._clock.now):
            self._clock.at(self._clock.now + self._hop, lambda placed=placed: self._begin(placed))  # type: ignore[misc]

    def _begin(self, placed: Placed) -> None:
        asked, member = placed.asked, self._members[placed.engine]
        job = Job(asked.names, asked.prompt, asked.new)
        job.on_end = lambda: self._clock.at(job.ended, lambda: self._end(placed, job))
        told = 0

        def tell(read: int) -> None:
            nonlocal told
            # The first that an engine says of a request is how much of it was there.
            call = self.router.reading if told == 0 else self.router.read_on
            told += 1
            self._clock.at(self._clock.now, lambda: call(placed.ticket, read))

        job.on_read = tell
        member.engine.add(job, self._clock.now)
        if not member.working:
            member.working = True
            self._step(placed.engine, member)

    def _end(self, placed: Placed, job: Job) -> None:
        self.router.end(placed.ticket, job.written)
        self._done.pop(placed.asked)(job)
        self._place()

    def _step(self, name: str, member: _Member) -> None:
        engine, now = member.engine, self._clock.now
        if engine.idle:
            member.working = False
            return
        seconds = engine.step(now)
        if now - member.told > LEARN_SECONDS:
            member.told = now
            read = engine.prompt_tokens - engine.cached_tokens
            work = Work(read, engine.new_tokens, engine.reading_seconds, engine.writing_seconds)
            self.router.learn(name, work)
        self._clock.at(now + seconds, lambda: self._step(name, member))
