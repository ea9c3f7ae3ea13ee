"""Pace: how long one step of an engine takes, measured on a CPU or worked out for a GPU."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np


@dataclass(frozen=True)
class Chunk:
    """A piece of a prompt that is read in one step: positions start … start + count - 1."""

    start: int
    count: int

    @property
    def pairs(self) -> float:
        """Pairs of positions that attention looks at."""
        return self.count * (self.start + (self.count + 1) / 2)


@dataclass(frozen=True)
class Step:
    """What one step does: so many rows that write, with so many tokens before them in all; chunks."""

    rows: int
    context: int
    chunks: tuple[Chunk, ...]


class Pace(Protocol):
    """How long a step takes."""

    def seconds(self, step: Step) -> list[float]:
        """Until the rows are written, then until each chunk is read, from the step's beginning."""
        ...


@dataclass(frozen=True)
class CpuPace:
    """A CPU, where rows and each chunk are passes one after the other; seconds.

    Attributes:
        step: of every step.
        rows, row, context: of a pass over rows, of each row in it, of each token before them.
        chunk, token, pair: of a chunk, of each token in it, of each pair of positions.
        admission: of a request that is taken in.
    """

    step: float
    rows: float
    row: float
    context: float
    chunk: float
    token: float
    pair: float

    def seconds(self, step: Step) -> list[float]:
        """As `Pace`."""
        at = self.step
        if step.rows:
            at += self.rows + self.row * step.rows + self.context * step.context
        marks = [at]
        for chunk in step.chunks:
            at += self.chunk + self.token * chunk.count + self.pair * chunk.pairs
            marks.append(at)
        return marks

    @classmethod
    def fit(cls, steps: Sequence[tuple[Step, float]]) -> CpuPace:
        """The constants that explain measured steps best, none below 0 (non-negative least squares, by
        leaving out what would be negative; relative errors count)."""
        rows = [_features(step) for step, _ in steps]
        taken = np.array([seconds for _, seconds in steps])
        matrix = np.array(rows) / taken[:, None]
        kept = list(range(matrix.shape[1]))
        while True:
            found, *_ = np.linalg.lstsq(matrix[:, kept], np.ones(len(taken)), rcond=None)
            if (found >= 0).all():
                break
            kept.pop(int(found.argmin()))
        values = np.zeros(matrix.shape[1])
        values[kept] = found
        return cls(*(float(value) for value in values))

    def as_dict(self) -> dict[str, Any]:
        """For a JSON file."""
        return asdict(self)


def _features(step: Step) -> list[float]:
    chunks = step.chunks
    return [
        1.0,
        float(step.rows > 0),
        float(step.rows),
        float(step.context),
        float(len(chunks)),
        float(sum(chunk.count for chunk in chunks)),
        sum(chunk.pairs for chunk in chunks),
    ]


@dataclass(frozen=True)
class GpuPace:
    """GPUs that share a model, all of a step in one pass: the longer of computing and of reading memory.

    Attributes:
        parameters, weight_bytes: of the model.
        kv_bytes: of keys and values of one token.
        layers, width: the model's, for attention: 4 · layers · width operations a pair of positions.
        flops, bandwidth: of all GPUs together, operations and bytes a second, as far as they are reached.
        overhead: seconds of a step beside that: launches, sums over GPUs, sampling.
    """

    parameters: float
    weight_bytes: float
    kv_bytes: float
    layers: int
    width: int
    flops: float
    bandwidth: float
    overhead: float

    def seconds(self, step: Step) -> list[float]:
        """As `Pace`; all ends together."""
        tokens = step.rows + sum(chunk.count for chunk in step.chunks)
        pairs = step.context + sum(chunk.pairs for chunk in step.chunks)
        computing = (2 * self.parameters * tokens + 4 * self.layers * self.width * pairs) / self.flops
        held = step.context + sum(chunk.start + chunk.count for chunk in step.chunks)
        reading = (self.weight_bytes + self.kv_bytes * held) / self.bandwidth
        end = self.overhead + max(computing, reading)
        return [end] * (1 + len(step.chunks))
