"""A real engine on a clock of its own CPU time.

Requests come when the clock says so, and each step moves it by the CPU time that the step took. So what waits
for what is decided by the real scheduler and the real costs, and other programs on the machine, which would
make seconds on the wall longer, do not count.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from bench.scale.pace import Chunk, Step
from bench.scale.workload import Question, tokens_of
from model import Engine, Finished, SamplingParams, TokenEvent
from model.generation import Generation
from model.request import Request

WORDS = 40_000
"""Token ids of prompts are below it."""


@dataclass
class Timed:
    """What became of one question: seconds from its coming to its first and its last token; tokens reused."""

    first: float
    last: float
    cached: int


@dataclass(frozen=True)
class Stepped:
    """A run: what became of each question, each step with its seconds, and the clock at the end."""

    timed: list[Timed]
    steps: list[tuple[Step, float]]
    seconds: float


@dataclass
class _Stamped:
    """Takes the place of a request's queue of events, and notes when each was put in."""

    said: list[tuple[float, object]] = field(default_factory=list)

    def put(self, events: object) -> None:
        self.said.append((time.process_time(), events))


class _Live:
    """A request under way: how far it was before the step."""

    def __init__(self, engine: Engine, question: Question) -> None:
        ids = tokens_of(question, min(WORDS, engine.config.vocab_size))
        params = SamplingParams(max_tokens=question.new, ignore_eos=True)
        generation = Generation(engine.tokenizer, ids, params, question.new)
        self.at, self.first, self.done = question.at, 0.0, False
        self.request = Request(len(ids), ids, threading.Event(), generation, salt=question.workspace)
        self.request.events = self._said = _Stamped()  # type: ignore[assignment]
        self._computed: int | None = None
        self.timed = Timed(0.0, 0.0, 0)

    def chunk(self) -> Chunk | None:
        """What the last step read of it."""
        request, before = self.request, self._computed
        if request.cached is None:
            return None
        start = request.cached if before is None else before
        self._computed = request.computed
        if start >= request.prompt or self.done:
            return None
        return (
            Chunk(start, min(request.computed, request.prompt) - start) if request.computed > start else None
        )

    def look(self, clock: float, begin: float) -> bool:
        """Take up what was said in the step that began at `clock`; whether it has ended."""
        for stamp, events in self._said.said:
            for event in events if isinstance(events, list) else [events]:
                at = clock + stamp - begin - self.at
                if isinstance(event, TokenEvent) and event.index == 0:
                    self.timed.first = at
                elif isinstance(event, Finished):
                    self.timed.last, self.timed.cached = at, event.cached_tokens
                    self.done = True
                elif isinstance(event, Exception):
                    raise event
        self._said.said.clear()
        return self.done


def run(engine: Engine, questions: Sequence[Question]) -> Stepped:
    """Answer questions, which come at their times, step by step on this thread; the engine must be idle."""
    loop, scheduler = engine._loop, engine._scheduler
    coming = [_Live(engine, question) for question in questions]
    live: list[_Live] = []
    clock, arrived = 0.0, 0
    steps: list[tuple[Step, float]] = []
    while arrived < len(coming) or live:
        if not live:
            clock = max(clock, coming[arrived].at)
        begin = time.process_time()
        while arrived < len(coming) and coming[arrived].at <= clock:
            scheduler.add(coming[arrived].request)
            live.append(coming[arrived])
            arrived += 1
        writers = [each for each in scheduler.running if not each.reading]
        context = sum(len(each.tokens) for each in writers)
        rows = len(writers)
        loop._step()
        seconds = time.process_time() - begin
        chunks = tuple(chunk for each in live if (chunk := each.chunk()) is not None)
        steps.append((Step(rows, context, chunks), seconds))
        live = [each for each in live if not each.look(clock, begin)]
        clock += seconds
    return Stepped([each.timed for each in coming], steps, clock)
