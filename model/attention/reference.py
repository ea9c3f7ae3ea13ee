"""Attention written out as the formula: slow, with a full score matrix; the yardstick of the others."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from model.attention.batch import Segment
from model.kv.pool import KVPool


class ReferenceAttend:
    """softmax(Q Kᵀ / sqrt(head_dim) + causal) V, segment by segment, in float32 or in what is asked for."""

    name = "reference"

    def __init__(self, dtype: torch.dtype = torch.float32) -> None:
        self._dtype = dtype

    def plan(self, segments: Sequence[Segment], pool: KVPool) -> Sequence[Segment]:
        """The segments themselves."""
        del pool
        return segments

    def __call__(self, queries: Tensor, keys: Tensor, values: Tensor, plan: Sequence[Segment]) -> Tensor:
        """See `model.attention.batch.Attend`."""
        return self.with_lse(queries, keys, values, plan)[0]

    def with_lse(
        self, queries: Tensor, keys: Tensor, values: Tensor, plan: Sequence[Segment]
    ) -> tuple[Tensor, Tensor]:
        """See `model.attention.batch.Attend`."""
        parts, row = [], 0
        for segment in plan:
            own = queries[row : row + segment.count]
            row += segment.count
            blocks, end = list(segment.blocks), segment.start + segment.count
            parts.append(
                attention(
                    own.to(self._dtype),
                    keys[blocks].flatten(0, 1)[:end].to(self._dtype),
                    values[blocks].flatten(0, 1)[:end].to(self._dtype),
                )
            )
        out = torch.cat([part[0] for part in parts]).to(queries.dtype)
        return out, torch.cat([part[1] for part in parts], dim=1).float()


def attention(queries: Tensor, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """Causal attention of the last n of `total` positions over all of them, in the dtype of the arguments.

    Args:
        queries: [n, heads, head_dim].
        keys, values: [total, kv_heads, head_dim].

    Returns:
        [n, heads, head_dim] and the log-sum-exp of the scores [heads, n].
    """
    n, heads, head_dim = queries.shape
    total, kv_heads, _ = keys.shape
    group = heads // kv_heads
    scores = torch.einsum("nhd,thd->hnt", queries, keys.repeat_interleave(group, 1)) / math.sqrt(head_dim)
    visible = torch.ones(n, total, dtype=torch.bool, device=queries.device).tril(total - n)
    scores = scores.masked_fill(~visible, -math.inf)
    out = torch.einsum("hnt,thd->nhd", scores.softmax(-1), values.repeat_interleave(group, 1))
    return out, scores.logsumexp(-1)
