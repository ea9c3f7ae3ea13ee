"""The loop: one thread that takes requests in, steps the scheduler, and hands out what comes of it."""

from __future__ import annotations

import atexit
import logging
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from typing import TypeVar

from model.errors import ConstraintError, EngineDeadError, ModelError, StepError
from model.events import Event, FinishReason, PrefillProgress
from model.kv.prefix import PrefixCache
from model.pace import Pace
from model.request import Request, Work
from model.runner import Result, Runner
from model.scheduler import Plan, Scheduler
from model.speculate import StepTimes
from model.stats import Counters

log = logging.getLogger(__name__)
T = TypeVar("T")

_IDLE_SECONDS = 5.0
"""An idle thread ends after this long; the next request starts another."""


_open: weakref.WeakSet[Loop] = weakref.WeakSet()


class Loop:
    """Owns the scheduler; everything that touches it happens on one thread, between or in steps.

    Attributes:
        counters: what was done so far.
    """

    def __init__(self, runner: Runner, scheduler: Scheduler, cache: PrefixCache, times: StepTimes) -> None:
        self._runner, self._scheduler, self._cache = runner, scheduler, cache
        self._pace, self._times = Pace(), times
        self.counters = Counters()
        self._condition = threading.Condition()
        self._inbox: deque[Request | Callable[[], None]] = deque()
        self._thread: threading.Thread | None = None
        self._dead: ModelError | None = None
        self._closed = False
        _open.add(self)

    def submit(self, request: Request) -> None:
        """Queue a request; what comes of it arrives in its `events`.

        Raises:
            EngineDeadError: the engine has failed for good, or was closed.
        """
        self._post(request)

    def serve(
        self, request: Request, on_progress: Callable[[PrefillProgress], None] | None = None
    ) -> Iterator[Event]:
        """Submit a request when first iterated, and give its results; closing the iterator ends it."""
        self.submit(request)
        yield from request.results(on_progress)

    def call(self, function: Callable[[], T]) -> T:
        """Run a function between two steps, on the loop's thread, and give its result.

        Raises:
            EngineDeadError: as `submit`.
        """
        future: Future[T] = Future()

        def run() -> None:
            try:
                future.set_result(function())
            except BaseException as error:  # handed to the caller, whatever it is
                future.set_exception(error)

        self._post(run)
        return future.result()

    def close(self) -> None:
        """End every request as cancelled and take no new ones."""
        with self._condition:
            if self._closed:
                return
            self._closed = True
            self._condition.notify()
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    @property
    def failure(self) -> ModelError | None:
        """Why the engine takes no more requests; None while it does."""
        return self._dead

    def _post(self, item: Request | Callable[[], None]) -> None:
        with self._condition:
            if self._dead is not None:
                raise EngineDeadError(f"the engine has failed and takes no requests: {self._dead}")
            if self._closed:
                raise EngineDeadError("the engine is closed and takes no requests")
            self._inbox.append(item)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="longleaf-engine", daemon=True)
                self._thread.start()
            self._condition.notify()

    def _run(self) -> None:
        while True:
            # While there is work and nothing new, a step follows the other without a lock.
            if self._inbox or self._closed or self._dead is not None or not self._busy:
                with self._condition:
                    if not self._busy and not self._inbox and not self._closed:
                        self._condition.wait(_IDLE_SECONDS)
                    if self._closed or self._dead is not None or not (self._busy or self._inbox):
                        self._thread = None
                        break
                self._take_in()
            try:
                self._step()
            except Exception as error:  # a fault of ours: nobody may be left waiting for it
                log.exception("the scheduler failed")
                known = error if isinstance(error, EngineDeadError) else None
                self._dead = known or EngineDeadError(f"the scheduler failed: {error}")
        if self._closed or self._dead is not None:
            self._abandon()

    def _take_in(self) -> None:
        """Queue the requests of the inbox and call its functions, in the order in which they came."""
        with self._condition:
            items = list(self._inbox)
            self._inbox.clear()
        for item in items:
            if isinstance(item, Request):
                self._scheduler.add(item)
            else:
                item()

    @property
    def _busy(self) -> bool:
        return bool(self._scheduler.running or self._scheduler.waiting)

    def _step(self) -> None:
        for request in [*self._scheduler.running, *self._scheduler.waiting]:
            if request.cancelled:
                self._finish(request, "cancelled")
        plan = self._scheduler.plan(read=self._pace.may_read)
        self.counters.steps += bool(plan.rows or plan.chunks)
        for work in plan.chunks:
            self._begin(work.request)
        writing = reading = 0.0
        begin = time.perf_counter()
        for works, results in self._begun(plan):
            try:
                for result in results():
                    self._take(result)
            except Exception as error:  # whatever a kernel or a device raises belongs to these requests
                self._fail(works, error)
                if self._dead is not None:
                    return
            # Of passes that are under way at a time, what each takes longer than the one before.
            seconds, begin = time.perf_counter() - begin, time.perf_counter()
            if any(work.start < work.request.prompt for work in works):
                reading += seconds
            else:
                writing += seconds
                self._times.note(sum(work.count for work in works), seconds)
        self.counters.writing_seconds += writing
        self.counters.reading_seconds += reading
        self._pace.note(writing=writing, reading=reading, writers=bool(plan.rows))

    def _begun(self, plan: Plan) -> list[tuple[list[Work], Callable[[], list[Result]]]]:
        """The passes of a step, all begun before the first has ended."""
        begun = []
        for works in self._runner.passes(plan.rows, plan.chunks):
            try:
                begun.append((works, self._runner.begin(works)))
            except Exception as error:  # as of one that has begun
                self._fail(works, error)
                if self._dead is not None:
                    return []
        return begun

    def _begin(self, request: Request) -> None:
        """Count a request that reads its first chunk, and say how much of it was cached."""
        if request.started:
            return
        request.started = True
        cached = request.cached or 0
        self.counters.prompt_tokens += request.prompt
        self.counters.cached_tokens += cached
        if request.generation is not None:
            request.events.put([PrefillProgress(cached, request.prompt, cached)])

    def _take(self, result: Result) -> None:
        work, request = result.work, result.work.request
        if request not in self._scheduler.running:
            return
        end = work.start + work.count - len(work.draft)
        self._scheduler.computed(work, end)
        if work.start < request.prompt and request.generation is not None and not request.generation.count:
            request.events.put([PrefillProgress(end, request.prompt, request.cached or 0)])
        if request.generation is None:
            self._collect(result)
        elif len(result.logits):
            self._write(result)

    def _collect(self, result: Result) -> None:
        request = result.work.request
        if request.collect is not None and len(result.logits):
            request.collect(result.first, result.logits.values)
        if not request.reading:
            self._finish(request, "length")

    def _write(self, result: Result) -> None:
        """Sample row by row for as long as the next row is about the token that was sampled."""
        work, request = result.work, result.work.request
        generation = request.generation
        if generation is None:
            return
        right = 0
        refused: ConstraintError | None = None
        events: list[Event] = []  # told together: each telling wakes the reader, who wants the interpreter
        try:
            for index in range(len(result.logits)):
                event = generation.next(result.logits, index)
                request.tokens.append(event.token_id)
                events.append(event)
                if generation.reason is not None or index == len(work.draft):
                    break
                if event.token_id != work.draft[index]:
                    break
                right += 1
        except ConstraintError as error:  # of this answer alone
            refused = error
        self.counters.new_tokens += len(events)
        request.events.put(events)
        if refused is not None:
            self._refuse(request, refused)
            return
        if work.draft and request.drafter is not None:
            request.drafter.learn(len(work.draft), right)
            self.counters.drafted += len(work.draft)
            self.counters.accepted += right
            # The rows of right guesses are as good as if they had been asked for.
            self._scheduler.computed(work, len(request.tokens) - 1)
        if generation.reason is not None:
            self._finish(request, generation.reason)

    def _finish(self, request: Request, reason: FinishReason) -> None:
        self._scheduler.remove(request)
        if request.generation is not None:
            request.events.put([request.generation.finished(reason, request.cached or 0)])
        else:
            request.done.set_result(reason)

    def _refuse(self, request: Request, error: ModelError) -> None:
        self._scheduler.remove(request)
        request.fail(error)

    def _fail(self, works: Sequence[Work], error: Exception) -> None:
        log.exception("a forward pass failed", exc_info=error)
        final = isinstance(error, EngineDeadError)
        named = error if isinstance(error, ModelError) else StepError(f"the step failed: {error}")
        everyone = [*self._scheduler.running, *self._scheduler.waiting] if final else []
        for request in {id(r): r for r in [*(work.request for work in works), *everyone]}.values():
            self._refuse(request, named)
        if final:
            self._dead = named

    def _abandon(self) -> None:
        """End what is left when the engine closes or has failed."""
        self._take_in()
        for request in [*self._scheduler.running, *self._scheduler.waiting]:
            if self._dead is not None:
                self._refuse(request, self._dead)
            else:
                self._finish(request, "cancelled")


@atexit.register
def _close_all() -> None:
    """A thread that is inside a kernel when the interpreter goes takes the whole process down with it."""
    for loop in list(_open):
        loop.close()
