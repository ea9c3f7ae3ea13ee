"""A stretch of positions out of a paged pool: a view where its blocks lie in a row, a copy elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

SPAN = 8192
"""Positions that are gathered at once at most: what bounds the memory of a copy.

For the 8B model's 8 key heads of 128 in bfloat16, 32 MiB of keys and values.
"""


@dataclass(frozen=True)
class Stretch:
    """Consecutive positions of one sequence, and where the pool holds them.

    Attributes:
        blocks: ids of the blocks, as a slice where they are consecutive, else int64 [m].
        skip: positions of the first block that come before the stretch.
        count: positions.
    """

    blocks: slice | Tensor
    skip: int
    count: int

    def of(self, pages: Tensor) -> Tensor:
        """[blocks, block_size, kv_heads, head_dim] -> [count, kv_heads, head_dim]."""
        return pages[self.blocks].flatten(0, 1)[self.skip : self.skip + self.count]


def stretch(blocks: Sequence[int], begin: int, end: int, block_size: int, device: torch.device) -> Stretch:
    """Where positions begin … end - 1 of the sequence with these blocks are."""
    first = begin // block_size
    ids = blocks[first : (end - 1) // block_size + 1]
    consecutive = all(right == left + 1 for left, right in pairwise(ids))
    where = slice(ids[0], ids[0] + len(ids)) if consecutive else torch.tensor(ids, device=device)
    return Stretch(where, begin - first * block_size, end - begin)


def stretches(
    blocks: Sequence[int], begin: int, end: int, block_size: int, device: torch.device
) -> Iterator[Stretch]:
    """The positions begin … end - 1, cut at absolute multiples of `SPAN`.

    The cuts depend on positions alone, never on where the blocks lie, and so does every rounding of what is
    computed stretch by stretch.
    """
    while begin < end:
        stop = min(end, (begin // SPAN + 1) * SPAN)
        yield stretch(blocks, begin, stop, block_size, device)
        begin = stop
