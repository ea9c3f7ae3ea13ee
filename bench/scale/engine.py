"""A simulated engine: the rules of `model.scheduler` and `model.pace` on a simulated clock, without a
model."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from bench.scale.pace import Chunk, Pace, Step
from bench.scale.pool import SimulatedPool


@dataclass(frozen=True)
class Shape:
    """As `model.EngineOptions`; `blocks` are those of the KV pool."""

    block: int = 256
    chunk: int = 256
    step_tokens: int = 256
    most_running: int = 64
    blocks: int = 64


@dataclass(eq=False)
class Job:
    """A request in an engine, and when what happened to it."""

    names: tuple[bytes, ...]
    prompt: int
    new: int
    came: float = 0.0
    cached: int = -1
    computed: int = 0
    written: int = 0
    named: list[bytes] = field(default_factory=list)
    nameless: int = 0
    first: float = 0.0
    ended: float = 0.0
    on_read: Callable[[int], None] = field(default=lambda _: None)
    on_end: Callable[[], None] = field(default=lambda: None)


class SimulatedEngine:
    """Jobs, a KV pool by names, and steps. Speculation and the tiers below the pool are left out."""

    def __init__(self, pace: Pace, shape: Shape) -> None:
        self.pace, self.shape = pace, shape
        self.waiting: deque[Job] = deque()
        self.running: list[Job] = []
        self._readers: deque[Job] = deque()
        self.pool = SimulatedPool(shape.blocks)
        self._owed = 0.0
        self.reading_seconds = self.writing_seconds = 0.0
        self.prompt_tokens = self.cached_tokens = self.new_tokens = 0

    @property
    def busy(self) -> float:
        """Seconds in steps so far."""
        return self.reading_seconds + self.writing_seconds

    @property
    def idle(self) -> bool:
        """Whether there is nothing to do."""
        return not self.waiting and not self.running

    def add(self, job: Job, now: float) -> None:
        """Take a request in."""
        job.came = now
        self.waiting.append(job)

    def step(self, now: float) -> float:
        """Do the next step; gives its seconds. What becomes of it is told with the times at which it does."""
        writers = [job for job in self.running if job.computed >= job.prompt]
        reads = self._chunks(self.shape.step_tokens - len(writers)) if self._owed <= 0 or not writers else []
        plan = Step(
            len(writers),
            sum(job.prompt + job.written for job in writers),
            tuple(Chunk(job.computed, count) for job, count in reads),
        )
        marks = self.pace.seconds(plan)
        for job in writers:
            self._wrote(job, now + marks[0])
        for (job, count), mark in zip(reads, marks[1:], strict=True):
            self._read(job, count, now + mark)
        writing, reading = marks[0], marks[-1] - marks[0]
        if not writers:
            self._owed = 0.0
        else:
            self._owed += reading if reads else -writing
        self.writing_seconds += writing
        self.reading_seconds += reading
        return marks[-1]

    def _chunks(self, budget: int) -> list[tuple[Job, int]]:
        while self.waiting and len(self.running) < self.shape.most_running and self._admit(self.waiting[0]):
            self.waiting.popleft()
        chunks: list[tuple[Job, int]] = []
        size = self.shape.chunk
        for _ in range(len(self._readers)):
            if budget <= 0 and chunks:
                break
            job = self._readers.popleft()
            end = min(job.prompt, (job.computed // size + 1) * size)
            chunks.append((job, end - job.computed))
            budget -= end - job.computed
            if end < job.prompt:
                self._readers.append(job)
        return chunks

    def _admit(self, job: Job) -> bool:
        block, chunk = self.shape.block, self.shape.chunk
        usable = (job.prompt - 1) // chunk * (chunk // block)
        reused = self.pool.matching(job.names[:usable]) * block // chunk * chunk
        names, needed = job.names[: reused // block], -(-(job.prompt + job.new) // block)
        if not self.pool.take(names, needed - len(names), always=not self.running):
            return False
        job.named, job.nameless = list(names), needed - len(names)
        job.computed, job.cached = reused, reused
        self.prompt_tokens += job.prompt
        self.cached_tokens += reused
        job.on_read(reused)
        self.running.append(job)
        self._readers.append(job)
        return True

    def _read(self, job: Job, count: int, now: float) -> None:
        block, start = self.shape.block, job.computed
        job.computed += count
        # chunk by chunk, so that who comes meanwhile finds them; the unfilled last chunk has no name
        full = job.computed if job.computed % self.shape.chunk == 0 else start
        for name in job.names[start // block : full // block]:
            if self.pool.name(name):
                job.named.append(name)
                job.nameless -= 1
        if job.computed >= job.prompt:
            self._wrote(job, now)
        job.on_read(job.computed)

    def _wrote(self, job: Job, now: float) -> None:
        if job.written == 0:
            job.first = now
        job.written += 1
        self.new_tokens += 1
        if job.written >= job.new:
            job.ended = now
            self.running.remove(job)
            self.pool.release(job.named, job.nameless)
            job.on_end()
