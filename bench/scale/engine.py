"""A simulated engine: the rules of `model.scheduler` and `model.pace` on a simulated clock, without a
model."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field

from bench.scale.pace import Chunk, Pace, Step


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
    held: int = 0
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
        self._named: OrderedDict[bytes, None] = OrderedDict()
        self._held = 0
        self._owed = 0.0
        self.reading_seconds = self.writing_seconds = 0.0
        self.prompt_tokens = self.cached_tokens = self.new_tokens = 0
        self.most_held = 0

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
        reused = 0
        for name in job.names[:usable]:
            if name not in self._named:
                break
            reused += block
        reused = reused // chunk * chunk
        needed = -(-(job.prompt + job.new) // block)
        if self.running and self._held + needed > self.shape.blocks:
            return False
        for name in reversed(job.names[: reused // block]):
            self._named.move_to_end(name)
        self._held += needed - reused // block
        job.held = needed - reused // block
        self.most_held = max(self.most_held, self._held)
        self._shrink()
        job.computed, job.cached = reused, reused
        self.prompt_tokens += job.prompt
        self.cached_tokens += reused
        job.on_read(reused)
        self.running.append(job)
        self._readers.append(job)
        return True

    def _read(self, job: Job, count: int, now: float) -> None:
        job.computed += count
        if job.computed >= job.prompt:
            self._keep(job)
            self._wrote(job, now)
        job.on_read(job.computed)

    def _keep(self, job: Job) -> None:
        """Name what was read, as the engine does chunk by chunk; the unfilled last chunk has no name."""
        full = job.prompt // self.shape.chunk * (self.shape.chunk // self.shape.block)
        for name in reversed(job.names[:full]):
            self._named[name] = None
            self._named.move_to_end(name)
        self._shrink()

    def _shrink(self) -> None:
        # Named blocks that nobody uses give way to those in use. Blocks of running jobs are named too and
        # counted twice here for as long as they run: the pool seems a little smaller than it is.
        while self._named and len(self._named) + self._held > self.shape.blocks:
            self._named.popitem(last=False)

    def _wrote(self, job: Job, now: float) -> None:
        if job.written == 0:
            job.first = now
        job.written += 1
        self.new_tokens += 1
        if job.written >= job.new:
            job.ended = now
            self.running.remove(job)
            self._held -= job.held
            job.on_end()
