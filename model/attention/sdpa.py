"""Attention with the kernels inside torch, never with a mask.

torch's causal flag aligns the triangle top-left, which is wrong as soon as there is a past, and a
materialised mask of 128k positions is 17 GB. So: full attention over the past, causal attention inside
the new tokens, merged by their log-sum-exp.
"""

from __future__ import annotations

import torch
from torch import Tensor

from model.attention.merge import merge


def attend_sdpa(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """Attention by torch's fused kernels; shapes as in `model.attention.batch.Attend`."""
    n, heads, head_dim = queries.shape
    kv_heads, total, _ = keys.shape
    past = total - n
    q = queries.transpose(0, 1)
    if n == 1:
        # The queries that share a key head become rows of one: keys are read once, not once per query head.
        rows = queries.reshape(kv_heads, heads // kv_heads, head_dim)
        return _full(rows, keys, values)[0].reshape(1, heads, head_dim)
    own, own_lse = _kernel(q, keys[:, past:], values[:, past:], causal=True)
    if past:
        before, before_lse = _kernel(q, keys[:, :past], values[:, :past], causal=False)
        own = merge(before, before_lse, own, own_lse)
    return own.transpose(0, 1)


def _full(q: Tensor, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    return _kernel(q, keys, values, causal=False)


def _kernel(q: Tensor, keys: Tensor, values: Tensor, *, causal: bool) -> tuple[Tensor, Tensor]:
    """[heads, n, d] over [kv_heads, m, d] -> output [heads, n, d] and log-sum-exp [heads, n] (float32)."""
    if q.device.type == "cpu":
        # torch.compile and autograd are not involved: the public function would drop the log-sum-exp.
        out, lse = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
            q[None], keys[None], values[None], 0.0, causal
        )
        return out[0], lse[0]
    group = q.shape[0] // keys.shape[0]
    if group > 1:
        if causal:
            keys, values = (x.repeat_interleave(group, dim=0) for x in (keys, values))
        else:
            out, lse = _kernel(q.reshape(keys.shape[0], -1, q.shape[2]), keys, values, causal=False)
            return out.reshape(q.shape), lse.reshape(q.shape[:2])
    out, lse = torch.ops.aten._scaled_dot_product_efficient_attention(
        q[None], keys[None], values[None], None, True, 0.0, causal
    )[:2]
    # The kernel pads the rows of the log-sum-exp to a multiple of 32.
    return out[0], lse[0, :, : q.shape[1]]
