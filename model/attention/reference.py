"""Attention written out as the formula: slow, with a full score matrix; the yardstick of the others."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def attend_reference(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """softmax(Q Kᵀ / sqrt(head_dim) + causal) V in float32; shapes as in `model.attention.batch.Attend`."""
    n, heads, head_dim = queries.shape
    kv_heads, total, _ = keys.shape
    keys = keys.float().repeat_interleave(heads // kv_heads, dim=0)
    values = values.float().repeat_interleave(heads // kv_heads, dim=0)
    scores = queries.float().transpose(0, 1) @ keys.transpose(1, 2) / math.sqrt(head_dim)
    visible = torch.ones(n, total, dtype=torch.bool, device=queries.device).tril(total - n)
    weights = scores.masked_fill(~visible, -math.inf).softmax(dim=-1)
    return (weights @ values).transpose(0, 1).to(queries.dtype)
