"""Attention by the flash-attn libraries on CUDA: they read the paged pool themselves, through block tables.

Three libraries, three calls; all align the causal triangle bottom-right, so one call covers past and new
tokens, and all take fewer key heads than query heads. Sources: `flash_attn/flash_attn_interface.py` and
`csrc/flash_attn/flash_api.cpp` (2), `hopper/flash_attn_interface.py` (3), `flash_attn/cute/interface.py`
(4) in the repository Dao-AILab/flash-attention.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor

from model.attention.batch import Segment
from model.errors import HardwareError
from model.kv.pool import KVPool

PAGE_MULTIPLE = 256
"""FlashAttention-2 refuses pages whose size is not a multiple of this."""

TILE = 128
"""Keys that FlashAttention-4 loads at once; pages of this size go through the tensor memory accelerator."""


@dataclass(frozen=True)
class FlashPlan:
    """The arguments of a pass that all layers share; tensors are int32 on the device.

    Attributes:
        query_ends: [segments + 1], offsets of the segments' rows, from 0.
        key_ends: [segments + 1], offsets of their lengths, from 0.
        lengths: [segments], start + count of each.
        table: [segments, most blocks], block ids, filled up with 0.
        most_queries, most_keys: largest count and largest length.
        equal: the count that all segments have, or None.
    """

    query_ends: Tensor
    key_ends: Tensor
    lengths: Tensor
    table: Tensor
    most_queries: int
    most_keys: int
    equal: int | None

    @classmethod
    def of(cls, segments: Sequence[Segment], device: torch.device, per_block: int = 1) -> FlashPlan:
        """Plan for these segments.

        Args:
            per_block: into how many pages the kernel cuts each block.
        """
        counts = [each.count for each in segments]
        lengths = [each.start + each.count for each in segments]
        pages = [[per_block * i + j for i in each.blocks for j in range(per_block)] for each in segments]
        width = max(map(len, pages))

        def ints(rows: Any) -> Tensor:
            return torch.tensor(rows, dtype=torch.int32).to(device, non_blocking=True)

        return cls(
            query_ends=ints(list(accumulate(counts, initial=0))),
            key_ends=ints(list(accumulate(lengths, initial=0))),
            lengths=ints(lengths),
            table=ints([row + [0] * (width - len(row)) for row in pages]),
            most_queries=max(counts),
            most_keys=max(lengths),
            equal=counts[0] if len(set(counts)) == 1 else None,
        )


class FlashAttend:
    """What the three share. Their kernels compute the log-sum-exp anyway: asking for it costs nothing."""

    def plan(self, segments: Sequence[Segment], pool: KVPool) -> FlashPlan:
        """Block tables and offsets."""
        return FlashPlan.of(segments, pool.keys(0).device)

    def __call__(self, queries: Tensor, keys: Tensor, values: Tensor, plan: FlashPlan) -> Tensor:
        """See `model.attention.batch.Attend`."""
        return self.with_lse(queries, keys, values, plan)[0]

    def with_lse(
        self, queries: Tensor, keys: Tensor, values: Tensor, plan: FlashPlan
    ) -> tuple[Tensor, Tensor]:
        """See `model.attention.batch.Attend`."""
        raise NotImplementedError


class Flash2Attend(FlashAttend):
    """FlashAttention-2 (`flash-attn` ≥ 2.5): compute capability 8.0 and later, pages of a multiple of 256."""

    name = "flash2"

    def __init__(self) -> None:
        self._flash: Any = importlib.import_module("flash_attn.flash_attn_interface")

    def plan(self, segments: Sequence[Segment], pool: KVPool) -> FlashPlan:
        """Block tables and offsets.

        Raises:
            HardwareError: the pool's blocks are no pages for this library.
        """
        if pool.block_size % PAGE_MULTIPLE:
            raise HardwareError(
                f"flash-attn 2 needs KV blocks of a multiple of {PAGE_MULTIPLE} tokens; these have "
                f"{pool.block_size}. Use such a block size, or the attention backend 'sdpa'"
            )
        return super().plan(segments, pool)

    def with_lse(
        self, queries: Tensor, keys: Tensor, values: Tensor, plan: FlashPlan
    ) -> tuple[Tensor, Tensor]:
        """See `model.attention.batch.Attend`."""
        if plan.equal is None:
            out, lse, _ = self._flash.flash_attn_varlen_func(
                queries, keys, values, plan.query_ends, plan.key_ends, plan.most_queries, plan.most_keys,
                causal=True, return_attn_probs=True, block_table=plan.table,
            )  # fmt: skip
            return out, lse
        # Of the two this one alone splits a long past over the GPU when there are few queries.
        out, lse = self._flash.flash_attn_with_kvcache(
            queries.view(-1, plan.equal, *queries.shape[1:]), keys, values,
            cache_seqlens=plan.lengths, block_table=plan.table, causal=True, return_softmax_lse=True,
        )  # fmt: skip
        return out.flatten(0, 1), lse.transpose(0, 1).flatten(1)


class Flash3Attend(FlashAttend):
    """FlashAttention-3 (`flash_attn_interface`), for compute capability 9; pages of any size."""

    name = "flash3"

    def __init__(self) -> None:
        self._flash: Any = importlib.import_module(flash3_module() or "flash_attn_interface")

    def with_lse(
        self, queries: Tensor, keys: Tensor, values: Tensor, plan: FlashPlan
    ) -> tuple[Tensor, Tensor]:
        """See `model.attention.batch.Attend`."""
        out, lse, *_ = self._flash.flash_attn_with_kvcache(
            queries, keys, values,
            cache_seqlens=plan.lengths, page_table=plan.table,
            cu_seqlens_q=plan.query_ends, max_seqlen_q=plan.most_queries,
            causal=True, return_softmax_lse=True,
        )  # fmt: skip
        return out, lse


class Flash4Attend(FlashAttend):
    """FlashAttention-4 (`flash-attn-4`, in CuTe DSL), for compute capabilities 9, 10 and 11."""

    name = "flash4"

    def __init__(self, capability: int = 10) -> None:
        self._flash: Any = importlib.import_module("flash_attn.cute")
        # 0 lets the library split a long past by itself, which it can from Blackwell on.
        self._splits = 0 if capability >= 10 else 1

    def plan(self, segments: Sequence[Segment], pool: KVPool) -> FlashPlan:
        """Page tables and offsets; a block is cut into pages of the kernel's own tile where that goes."""
        return FlashPlan.of(segments, pool.keys(0).device, _pages(pool.block_size))

    def with_lse(
        self, queries: Tensor, keys: Tensor, values: Tensor, plan: FlashPlan
    ) -> tuple[Tensor, Tensor]:
        """See `model.attention.batch.Attend`."""
        blocks, block_size, kv_heads, head_dim = keys.shape
        cut = _pages(block_size)
        pages = (blocks * cut, block_size // cut, kv_heads, head_dim)
        out, lse = self._flash.flash_attn_varlen_func(
            queries, keys.view(pages), values.view(pages),
            cu_seqlens_q=plan.query_ends, max_seqlen_q=plan.most_queries, max_seqlen_k=plan.most_keys,
            seqused_k=plan.lengths, page_table=plan.table,
            causal=True, num_splits=self._splits, return_lse=True,
        )  # fmt: skip
        return out, lse


def flash2_installed() -> bool:
    """Whether flash-attn 2 is there (flash-attn-4 alone is a folder of that name without this module)."""
    return _found("flash_attn.flash_attn_interface")


def flash3_module() -> str | None:
    """The name under which FlashAttention-3 is installed, which changed between its releases."""
    return next((x for x in ("flash_attn_interface", "flash_attn_3.flash_attn_interface") if _found(x)), None)


def flash4_installed() -> bool:
    """Whether flash-attn-4 is there."""
    return _found("flash_attn.cute")


def _found(module: str) -> bool:
    # find_spec imports the parents of a name; flash_attn's own needs CUDA libraries, so only paths are asked.
    package, _, inner = module.partition(".")
    try:
        spec = importlib.util.find_spec(package)
    except (ImportError, ValueError):
        return False
    if spec is None or not inner:
        return spec is not None
    return any(
        importlib.machinery.PathFinder.find_spec(module, [place])
        for place in spec.submodule_search_locations or ()
    )


def _pages(block_size: int) -> int:
    return block_size // TILE if block_size % TILE == 0 else 1
