"""Attention by our own CPU kernel: chunks and single tokens, paged, without a score matrix."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from model.attention.batch import Segment
from model.attention.layout import block_table
from model.kv.pool import KVPool
from model.native import available, kernels


class _Plan(NamedTuple):
    segments: Tensor
    table: Tensor


class NativeAttend:
    """The kernel in `model/native/src/attend.c`; each row's bits depend on its own keys alone."""

    name = "native"

    @staticmethod
    def fits(dtype: torch.dtype, head_dim: int) -> bool:
        """Whether the library is there and takes such keys."""
        return available() and dtype in (torch.float32, torch.bfloat16) and head_dim % 2 == 0

    def plan(self, segments: Sequence[Segment], pool: KVPool) -> _Plan:
        """Row, start, count and place in one table of block ids, for each segment."""
        rows, table = block_table(segments, pool.block_size)
        return _Plan(torch.tensor(rows).view(-1, 4), torch.tensor(table))

    def __call__(self, queries: Tensor, keys: Tensor, values: Tensor, plan: _Plan) -> Tensor:
        """See `model.attention.batch.Attend`."""
        return kernels.attend(_rows(queries), keys, values, plan.segments, plan.table, None)

    def with_lse(self, queries: Tensor, keys: Tensor, values: Tensor, plan: _Plan) -> tuple[Tensor, Tensor]:
        """See `model.attention.batch.Attend`."""
        lse = torch.empty(queries.shape[1], queries.shape[0], dtype=torch.float32)
        return kernels.attend(_rows(queries), keys, values, plan.segments, plan.table, lse), lse


def _rows(queries: Tensor) -> Tensor:
    """Heads of a row side by side, as the kernel reads them."""
    dense = queries.stride(2) == 1 and queries.stride(1) == queries.shape[2]
    return queries if dense else queries.contiguous()
