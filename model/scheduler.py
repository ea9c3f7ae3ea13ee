"""Scheduler: what each step does, within a budget of tokens and of KV blocks.

There is no prefill phase and no decode phase: every request catches up with its own length. A step first
serves the requests that write (one row each, and drafts), then goes on reading prompts, then admits.

Prompts are cut where the absolute position is a multiple of `chunk`, never elsewhere; what comes after the
prompt goes through passes of few rows, whose kernels compute each row by itself. So the arithmetic of a
request does not depend on what else is running, on what was cached, or on whether it was preempted.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from model.kv.prefix import PrefixCache
from model.request import Request, Work


@dataclass(frozen=True)
class Plan:
    """One step: rows of requests that write, chunks of prompts that are read."""

    rows: tuple[Work, ...]
    chunks: tuple[Work, ...]


class Scheduler:
    """Waiting and running requests, in the order in which they came.

    Attributes:
        waiting: not admitted yet, or preempted.
        running: holding KV blocks.
        preemptions: how many times a request had to give up its blocks.
    """

    def __init__(
        self,
        cache: PrefixCache,
        *,
        block_size: int,
        chunk: int,
        budget: int,
        most_running: int,
        few_rows: int,
        ahead: bool = False,
        draft: Callable[[Request, int], tuple[int, ...]],
    ) -> None:
        """
        Args:
            chunk: prompts are cut at its multiples; a multiple of `block_size`.
            budget: most tokens of one step, at least `chunk`; writing requests are served beyond it.
            most_running: most requests with KV blocks at a time.
            few_rows: most rows of one request in a step, once its prompt is read.
            ahead: whether a step may have several chunks of one prompt, each a pass that begins before the
                one before has ended.
            draft: gives guesses of a request's next tokens, when so many requests write.
        """
        self._cache, self._size, self._chunk, self._budget = cache, block_size, chunk, budget
        self._most_running, self._few_rows, self._draft = most_running, few_rows, draft
        self._ahead = ahead
        self.waiting: deque[Request] = deque()
        self.running: list[Request] = []
        self._readers: deque[Request] = deque()
        self.preemptions = 0

    def add(self, request: Request) -> None:
        """Queue a new request."""
        self.waiting.append(request)

    def remove(self, request: Request) -> None:
        """Forget a request wherever it is, and free its blocks."""
        if request in self.running:
            self.running.remove(request)
            self._give_up(request)
        elif request in self.waiting:
            self.waiting.remove(request)

    def plan(self, *, read: bool) -> Plan:
        """The next step; empty when nothing can be done.

        Args:
            read: whether prompts may be read in this step, where requests are writing.
        """
        rows = self._rows()
        chunks: list[Work] = []
        if read or not rows:
            budget = self._budget - sum(work.count for work in rows)
            chunks = self._chunks(budget)
        return Plan(tuple(rows), tuple(chunks))

    def computed(self, work: Work, upto: int) -> None:
        """Take note that keys and values before position `upto` are there, and name the full blocks."""
        request = work.request
        request.computed = upto
        if not (request.keep and work.start < request.prompt and upto % self._chunk == 0):
            return
        names = request.names or []
        for index in range(work.start // self._size, upto // self._size):
            self._cache.keep(request.blocks[index], names[index], request.tags)

    def purge(self, tag: str) -> int:
        """Remove every block of requests with this tag, and name none of those that still run.

        Returns:
            How many blocks of the pool there were.
        """
        for request in [*self.running, *self.waiting]:
            if tag in request.tags:
                request.keep = False
        return self._cache.purge(tag)

    def _rows(self) -> list[Work]:
        writers = [request for request in self.running if not request.reading]
        rows = []
        for request in writers:
            if request not in self.running:
                continue  # preempted by one before it
            left = len(request.tokens) - request.computed
            draft: tuple[int, ...] = ()
            if left == 1 and self._cache.free:
                draft = self._draft(request, len(writers))[: self._few_rows - 1]
            count = min(left + len(draft), self._few_rows)
            if not self._reserve(request, request.computed + count):
                continue
            rows.append(Work(request, request.computed, count, draft))
        return [work for work in rows if work.request in self.running]

    def _chunks(self, budget: int) -> list[Work]:
        while self.waiting and len(self.running) < self._most_running and self._admit(self.waiting[0]):
            self.waiting.popleft()
        chunks: list[Work] = []
        # In turns: a short prompt does not wait for the end of a long one. Rows may have used the budget up;
        # one chunk is read all the same, or writers could starve readers.
        planned: dict[Request, int] = {}
        later: list[Request] = []
        while self._readers and (budget > 0 or not chunks):
            request = self._readers.popleft()
            start = planned.get(request, request.computed)
            end = planned[request] = min(request.prompt, (start // self._chunk + 1) * self._chunk)
            chunks.append(Work(request, start, end - start))
            budget -= chunks[-1].count
            if end < request.prompt:
                (self._readers if self._ahead else later).append(request)
        self._readers += later
        return chunks

    def _admit(self, request: Request) -> bool:
        """Give a waiting request its prompt's blocks, cached ones first; False where there is no room."""
        if request.names is None:
            request.names = self._cache.names(request.tokens[: request.prompt], request.salt)
        needed = -(-max(len(request.tokens), request.prompt + 1) // self._size)
        # The position before the first wanted one is the last that need not be computed.
        usable = min(request.wanted, request.prompt - 1) // self._chunk * (self._chunk // self._size)
        blocks = self._cache.match(request.names[:usable], request.tags)
        reused = len(blocks) * self._size // self._chunk * self._chunk
        surplus = reused // self._size
        self._cache.release(blocks[surplus:])
        del blocks[surplus:]
        if needed - len(blocks) > self._cache.free:
            self._cache.release(blocks)
            return False
        request.blocks = blocks + self._cache.take(needed - len(blocks))
        request.computed = reused
        if request.cached is None:
            request.cached = reused
        self.running.append(request)
        if request.reading:
            self._readers.append(request)
        return True

    def _reserve(self, request: Request, tokens: int) -> bool:
        """Blocks for so many positions, taken from the youngest if need be; False: that was it itself."""
        while len(request.blocks) * self._size < tokens:
            if self._cache.free:
                request.blocks += self._cache.take(1)
                continue
            youngest = max(self.running, key=lambda each: each.arrival)
            self.running.remove(youngest)
            self._give_up(youngest)
            youngest.computed = 0
            self.waiting.appendleft(youngest)
            self.preemptions += 1
            if youngest is request:
                return False
        return True

    def _give_up(self, request: Request) -> None:
        self._cache.release(request.blocks)
        request.blocks = []
        if request in self._readers:
            self._readers.remove(request)
