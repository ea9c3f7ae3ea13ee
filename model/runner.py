"""Runner: the work of a step as forward passes, and the logits that are wanted of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from model.attention import Segment
from model.executor import Executor
from model.logits import Logits
from model.native import FEW_ROWS
from model.request import Work


@dataclass(frozen=True)
class Result:
    """What came of one piece of work.

    Attributes:
        first: position of the first row of `logits`.
        logits: of the wanted ones among the work's positions; there may be none.
    """

    work: Work
    first: int
    logits: Logits


class Runner:
    """Groups work into passes.

    On a CPU every chunk of a prompt is a pass of its own and rows are taken `FEW_ROWS` at a time, so that
    each has the kernels that suit it and its own arithmetic. On a GPU, where reading the weights is what a
    small pass costs, all of a step is one pass. Over several stages it is passes of about a chunk each, which
    are in different stages at a time.
    """

    def __init__(self, executor: Executor, chunk: int) -> None:
        self._executor = executor
        together = executor.device.type != "cpu"
        self._most: float = 0 if not together else chunk if executor.stages > 1 else math.inf

    def passes(self, rows: Sequence[Work], chunks: Sequence[Work]) -> Iterator[list[Work]]:
        """The passes of a step, rows first."""
        if self._most:
            yield from self._joined(rows, chunks)
            return
        group: list[Work] = []
        for work in rows:
            if group and sum(each.count for each in group) + work.count > FEW_ROWS:
                yield group
                group = []
            group.append(work)
        if group:
            yield group
        for work in chunks:
            yield [work]

    def _joined(self, rows: Sequence[Work], chunks: Sequence[Work]) -> Iterator[list[Work]]:
        """All rows with the first chunks; then as many chunks together as make up one. Those of one prompt
        go into passes of their own."""
        group, size = [*rows], 0
        for work in chunks:
            again = any(each.request is work.request for each in group)
            if size and (again or size + work.count > self._most):
                yield group
                group, size = [], 0
            group.append(work)
            size += work.count
        if group:
            yield group

    def begin(self, works: Sequence[Work]) -> Callable[[], list[Result]]:
        """Begin a forward pass; what is given waits for what came of it, and is called in their order."""
        segments = [Segment(work.start, work.count, tuple(work.request.blocks)) for work in works]
        tokens = [token for work in works for token in work.tokens]
        firsts = [max(work.start, work.request.wanted) for work in works]
        rows: list[int] = []
        counts: list[int] = []
        end = 0
        for work, first in zip(works, firsts, strict=True):
            end += work.count
            counts.append(max(0, work.start + work.count - first))
            rows += range(end - counts[-1], end)
        logits = self._executor.begin(tokens, segments, rows)

        def results() -> list[Result]:
            parts = logits().split(counts)
            return [Result(work, first, part) for work, first, part in zip(works, firsts, parts, strict=True)]

        return results
