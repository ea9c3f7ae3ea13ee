"""Attention with the kernels inside torch, never with a mask.

torch's causal flag aligns the triangle top-left, which is wrong as soon as there is a past, and a
materialised mask of 128k positions is 17 GB. So: full attention over the past, causal attention inside
the new tokens, merged by their log-sum-exp.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import reduce

import torch
from torch import Tensor

from model.attention.batch import Segment
from model.attention.merge import merge
from model.attention.pages import Stretch, stretch, stretches
from model.kv.pool import KVPool

Kernel = Callable[[Tensor, Tensor, Tensor, bool], tuple[Tensor, Tensor]]
"""(queries [heads, n, d], keys [kv_heads, m, d], values, causal) -> [heads, n, d], log-sum-exp [heads, n].

`causal` comes with m = n only; the log-sum-exp is float32.
"""


@dataclass(frozen=True)
class Part:
    """What one segment's rows attend to.

    Attributes:
        rows: the segment's rows among all of the pass.
        past: positions that every row sees.
        own: the new positions, of which row i sees the first i + 1; None for a single row, which sees all.
    """

    rows: slice
    past: tuple[Stretch, ...]
    own: Stretch | None


class SdpaAttend:
    """Fused kernels of torch over paged blocks, on CPU and CUDA, in every dtype that torch has them for."""

    name = "sdpa"

    def __init__(self, kernel: Kernel | None = None) -> None:
        self._kernel = kernel

    def plan(self, segments: Sequence[Segment], pool: KVPool) -> list[Part]:
        """Where each segment's past and own positions lie."""
        device, parts, row = pool.keys(0).device, [], 0
        for each in segments:
            end = each.start + each.count
            seen = end if each.count == 1 else each.start
            past = tuple(stretches(each.blocks, 0, seen, pool.block_size, device))
            own = None if seen == end else stretch(each.blocks, seen, end, pool.block_size, device)
            parts.append(Part(slice(row, row + each.count), past, own))
            row += each.count
        return parts

    def __call__(self, queries: Tensor, keys: Tensor, values: Tensor, plan: list[Part]) -> Tensor:
        """See `model.attention.batch.Attend`."""
        return self.with_lse(queries, keys, values, plan)[0]

    def with_lse(
        self, queries: Tensor, keys: Tensor, values: Tensor, plan: list[Part]
    ) -> tuple[Tensor, Tensor]:
        """See `model.attention.batch.Attend`."""
        kernel = self._kernel or kernel_for(queries)
        out = torch.empty_like(queries)
        lse = queries.new_empty(queries.shape[1], queries.shape[0], dtype=torch.float32)
        for part in plan:
            mixed, logs = _attend(kernel, queries[part.rows], keys, values, part)
            out[part.rows] = mixed.transpose(0, 1)
            lse[:, part.rows] = logs
        return out, lse


def _attend(
    kernel: Kernel, queries: Tensor, keys: Tensor, values: Tensor, part: Part
) -> tuple[Tensor, Tensor]:
    """One segment: [n, heads, d] -> [heads, n, d] and [heads, n]."""

    def seen() -> Iterator[tuple[Tensor, Tensor]]:
        n, heads, head_dim = queries.shape
        rows = queries.transpose(0, 1)
        if part.own is not None:
            yield kernel(rows, _heads(part.own, keys), _heads(part.own, values), True)
        # Queries that share a key head become rows of one: its keys are read once, not once per query head.
        folded = rows.reshape(keys.shape[2], -1, head_dim)
        for past in part.past:
            out, lse = kernel(folded, _heads(past, keys), _heads(past, values), False)
            yield out.reshape(heads, n, head_dim), lse.reshape(heads, n)

    # One part after the other, so that no more than two are held however long the past is.
    return reduce(lambda done, more: merge(*done, *more), seen())


def _heads(where: Stretch, pages: Tensor) -> Tensor:
    """[kv_heads, m, d] of a stretch of m positions."""
    return where.of(pages).transpose(0, 1)


def kernel_for(queries: Tensor) -> Kernel:
    """torch's fastest kernel that gives the log-sum-exp, for the device and dtype of these queries."""
    if queries.device.type == "cpu":
        return cpu_kernel
    return flash_kernel if queries.dtype in (torch.float16, torch.bfloat16) else efficient_kernel


# The public function, torch.nn.functional.scaled_dot_product_attention, runs these and drops the log-sum-exp.


def cpu_kernel(q: Tensor, k: Tensor, v: Tensor, causal: bool) -> tuple[Tensor, Tensor]:
    """Any floating dtype; fewer key heads than query heads are understood."""
    out, lse = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
        q[None], k[None], v[None], 0.0, causal
    )
    return out[0], lse[0]


def flash_kernel(q: Tensor, k: Tensor, v: Tensor, causal: bool) -> tuple[Tensor, Tensor]:
    """FlashAttention-2 as built into torch: half precision, head_dim a multiple of 8 up to 256."""
    out, lse, *_ = torch.ops.aten._scaled_dot_product_flash_attention(q[None], k[None], v[None], 0.0, causal)
    return out[0], lse[0]


def efficient_kernel(q: Tensor, k: Tensor, v: Tensor, causal: bool) -> tuple[Tensor, Tensor]:
    """The memory-efficient kernel: float32 too, but every query head needs a key head of its own."""
    group = q.shape[0] // k.shape[0]
    if group > 1:
        k, v = (x.repeat_interleave(group, dim=0) for x in (k, v))
    out, lse, *_ = torch.ops.aten._scaled_dot_product_efficient_attention(
        q[None], k[None], v[None], None, True, 0.0, causal
    )
    # The kernel pads the rows of the log-sum-exp to a multiple of 32.
    return out[0], lse[0, :, : q.shape[1]]
