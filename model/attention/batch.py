"""What one forward pass is about, explicit and frozen: no module keeps state between passes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor

from model.kv.pool import KVPool


@dataclass(frozen=True)
class Segment:
    """Consecutive new tokens of one sequence.

    Attributes:
        start: position of the first; keys and values of all positions before it are in the blocks.
        count: how many.
        blocks: ids of the KV blocks that hold positions 0 … start + count - 1, in order.
    """

    start: int
    count: int
    blocks: tuple[int, ...]


class Attend(Protocol):
    """The interface of every attention backend.

    Query i of a segment sees positions 0 … start + i of its own sequence, through the segment's blocks.
    Query head h reads key head h // (heads / kv_heads). Scores are divided by sqrt(head_dim).
    """

    @property
    def name(self) -> str:
        """What the backend is called in options."""
        ...

    def plan(self, segments: Sequence[Segment], pool: KVPool) -> Any:
        """What the calls of one pass share (block tables, offsets): made once, used in every layer."""
        ...

    def __call__(self, queries: Tensor, keys: Tensor, values: Tensor, plan: Any) -> Tensor:
        """Attention of the new tokens of all segments.

        Args:
            queries: [n, heads, head_dim], segment after segment.
            keys: [blocks, block_size, kv_heads, head_dim], one layer of the pool, new rows written already.
            values: like `keys`.

        Returns:
            [n, heads, head_dim].
        """
        ...

    def with_lse(self, queries: Tensor, keys: Tensor, values: Tensor, plan: Any) -> tuple[Tensor, Tensor]:
        """The same, and the log of each query's summed exponentials: float32 [heads, n]."""
        ...


@dataclass(frozen=True)
class Batch:
    """One forward pass over n rows: the new tokens of some sequences, segment after segment.

    Attributes:
        rotation: rotary table of the rows' positions, complex64 [n, 1, head_dim / 2].
        slots: where in the pool each row's keys and values go, int64 [n].
        plan: what `attend.plan` gave for these segments.
    """

    segments: tuple[Segment, ...]
    rotation: Tensor
    slots: Tensor
    pool: KVPool
    attend: Attend
    plan: Any
