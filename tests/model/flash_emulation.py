"""flash-attn's documented calls on a CPU: the formula, behind the libraries' own checks of their arguments.

The checks are those of `csrc/flash_attn/flash_api.cpp` (2), `hopper/flash_api.cpp` (3) and
`flash_attn/cute/interface.py` (4) in Dao-AILab/flash-attention, for the arguments that Longleaf passes.
Arguments that it does not pass are not in the signatures, so that passing one by mistake fails.
"""

from __future__ import annotations

import sys
import types
from typing import Any

import pytest
import torch
from torch import Tensor

from model.attention.reference import attention


class Refused(Exception):
    """The library would not take this call."""


def check(condition: bool, message: str) -> None:
    if not condition:
        raise Refused(message)


def check_tensors(q: Tensor, k: Tensor, v: Tensor, *, page_multiple: int) -> None:
    for name, x in (("q", q), ("k", k), ("v", v)):
        check(x.dtype in (torch.float16, torch.bfloat16), f"{name} is {x.dtype}, not half precision")
        check(x.dtype == q.dtype, "q, k and v differ in dtype")
        check(x.stride(-1) == 1, f"the last dimension of {name} is not contiguous")
        # The kernels load 16 bytes at a time.
        check(x.storage_offset() * x.element_size() % 16 == 0, f"{name} is not aligned to 16 bytes")
        check(all(s * x.element_size() % 16 == 0 for s in x.stride()[:-1]), f"{name}: strides not aligned")
    check(k.dim() == 4, "k has no pages")
    check(k.shape == v.shape, "k and v differ in shape")
    check(k.shape[1] % page_multiple == 0, f"pages of {k.shape[1]} are no multiple of {page_multiple}")
    check(q.shape[-1] == k.shape[-1], "head_dim differs")
    check(q.shape[-1] <= 256 and q.shape[-1] % 8 == 0, "head_dim is no multiple of 8 up to 256")
    check(q.shape[-2] % k.shape[-2] == 0, "query heads are no multiple of key heads")


def check_ints(name: str, x: Tensor, shape: tuple[int, ...]) -> None:
    check(isinstance(x, Tensor) and x.dtype == torch.int32, f"{name} is not int32")
    check(x.is_contiguous(), f"{name} is not contiguous")
    check(tuple(x.shape) == shape, f"{name} has shape {tuple(x.shape)}, not {shape}")


def paged(  # noqa: PLR0917
    q: Tensor, k: Tensor, v: Tensor, starts: list[int], lengths: list[int], table: Tensor
) -> tuple[Tensor, Tensor]:
    """Causal attention aligned bottom-right, sequence by sequence: [total, heads, d] and [heads, total]."""
    parts = []
    for i, length in enumerate(lengths):
        check(length <= table.shape[1] * k.shape[1], "the block table is too short for the length")
        ids = table[i].long()
        own = q[starts[i] : starts[i + 1]]
        check(0 < len(own) <= length, "more queries than keys")
        rows = [x[ids].flatten(0, 1)[:length].float() for x in (k, v)]
        parts.append(attention(own.float(), *rows))
    return torch.cat([p[0] for p in parts]).to(q.dtype), torch.cat([p[1] for p in parts], 1).float()


# --- flash_attn.flash_attn_interface (2) ---


def flash2_varlen(  # noqa: PLR0917 - the library's signature
    q: Tensor, k: Tensor, v: Tensor, cu_seqlens_q: Tensor, cu_seqlens_k: Tensor,
    max_seqlen_q: int, max_seqlen_k: int, *,
    causal: bool = False, return_attn_probs: bool = False, block_table: Tensor,
) -> Any:  # fmt: skip
    check_tensors(q, k, v, page_multiple=256)
    check(causal, "not causal")
    check(q.dim() == 3, "q is not packed")
    batch = len(cu_seqlens_q) - 1
    check_ints("cu_seqlens_q", cu_seqlens_q, (batch + 1,))
    check_ints("cu_seqlens_k", cu_seqlens_k, (batch + 1,))
    check_ints("block_table", block_table, (batch, block_table.shape[1]))
    counts, lengths = cu_seqlens_q.diff(), cu_seqlens_k.diff()
    check(int(cu_seqlens_q[-1]) == len(q), "cu_seqlens_q does not end at the last row")
    check(max_seqlen_q == int(counts.max()) and max_seqlen_k == int(lengths.max()), "maxima are wrong")
    out, lse = paged(q, k, v, cu_seqlens_q.tolist(), lengths.tolist(), block_table)
    return (out, lse, torch.empty(0)) if return_attn_probs else out


def flash2_kvcache(
    q: Tensor, k_cache: Tensor, v_cache: Tensor, *,
    cache_seqlens: Tensor, block_table: Tensor, causal: bool = False, return_softmax_lse: bool = False,
) -> Any:  # fmt: skip
    check_tensors(q, k_cache, v_cache, page_multiple=256)
    check(causal, "not causal")
    check(q.dim() == 4, "q is not [batch, seqlen, heads, head_dim]")
    batch, count = q.shape[:2]
    check_ints("cache_seqlens", cache_seqlens, (batch,))
    check_ints("block_table", block_table, (batch, block_table.shape[1]))
    starts = [count * i for i in range(batch + 1)]
    out, lse = paged(q.flatten(0, 1), k_cache, v_cache, starts, cache_seqlens.tolist(), block_table)
    out, lse = out.view(q.shape), lse.view(-1, batch, count).transpose(0, 1)
    return (out, lse) if return_softmax_lse else out


# --- flash_attn_interface (3) ---


def flash3_kvcache(
    q: Tensor, k_cache: Tensor, v_cache: Tensor, *,
    cache_seqlens: Tensor, page_table: Tensor, cu_seqlens_q: Tensor, max_seqlen_q: int,
    causal: bool = False, return_softmax_lse: bool = False,
) -> Any:  # fmt: skip
    check_tensors(q, k_cache, v_cache, page_multiple=1)
    check(causal, "not causal")
    check(q.dim() == 3, "q is not packed")
    batch = len(cu_seqlens_q) - 1
    check_ints("cu_seqlens_q", cu_seqlens_q, (batch + 1,))
    check_ints("cache_seqlens", cache_seqlens, (batch,))
    check_ints("page_table", page_table, (batch, page_table.shape[1]))
    check(max_seqlen_q == int(cu_seqlens_q.diff().max()), "max_seqlen_q is wrong")
    out, lse = paged(q, k_cache, v_cache, cu_seqlens_q.tolist(), cache_seqlens.tolist(), page_table)
    # The library gives its partial results too.
    return (out, lse, torch.empty(0), torch.empty(0)) if return_softmax_lse else out


# --- flash_attn.cute (4) ---


def flash4_varlen(
    q: Tensor, k: Tensor, v: Tensor, *,
    cu_seqlens_q: Tensor, max_seqlen_q: int, max_seqlen_k: int, seqused_k: Tensor, page_table: Tensor,
    causal: bool = False, num_splits: int = 1, return_lse: bool = False,
) -> tuple[Tensor, Tensor | None]:  # fmt: skip
    check_tensors(q, k, v, page_multiple=1)
    check(causal, "not causal")
    check(num_splits in (0, 1), "a fixed number of splits")
    batch = len(cu_seqlens_q) - 1
    check_ints("cu_seqlens_q", cu_seqlens_q, (batch + 1,))
    check_ints("seqused_k", seqused_k, (batch,))
    check_ints("page_table", page_table, (batch, page_table.shape[1]))
    check(max_seqlen_q == int(cu_seqlens_q.diff().max()), "max_seqlen_q is wrong")
    check(max_seqlen_k == int(seqused_k.max()), "max_seqlen_k is wrong")
    out, lse = paged(q, k, v, cu_seqlens_q.tolist(), seqused_k.tolist(), page_table)
    return out, lse if return_lse else None


# --- torch.ops.aten on CUDA ---


def torch_flash(q: Tensor, k: Tensor, v: Tensor, dropout: float, causal: bool) -> tuple[Tensor, ...]:
    check(q.dtype in (torch.float16, torch.bfloat16), "not half precision")
    return _torch_kernel(q, k, v, dropout, causal)


def torch_efficient(  # noqa: PLR0917 - torch's signature
    q: Tensor, k: Tensor, v: Tensor, bias: None, with_lse: bool, dropout: float, causal: bool
) -> tuple[Tensor, ...]:
    check(bias is None and with_lse, "a mask, or no log-sum-exp")
    check(q.shape[1] == k.shape[1], "this kernel knows no grouped queries")
    out, lse, *rest = _torch_kernel(q, k, v, dropout, causal)
    padded = -(-lse.shape[-1] // 32) * 32
    return out, torch.nn.functional.pad(lse, (0, padded - lse.shape[-1]), value=torch.nan), *rest


def _torch_kernel(q: Tensor, k: Tensor, v: Tensor, dropout: float, causal: bool) -> tuple[Tensor, ...]:
    check(dropout == 0.0, "dropout")
    check(q.dim() == k.dim() == v.dim() == 4 and q.shape[0] == k.shape[0] == 1, "not [1, heads, n, d]")
    check(all(x.stride(-1) == 1 for x in (q, k, v)), "the last dimension is not contiguous")
    check(q.shape[-1] % 8 == 0, "head_dim is no multiple of 8")
    # torch aligns the triangle top-left: with more keys than queries it would be the wrong one.
    check(not causal or q.shape[2] == k.shape[2], "causal over a past")
    rows = [x[0].transpose(0, 1).float() for x in (q, k, v)]
    if causal:
        out, lse = attention(*rows)
    else:
        parts = [attention(rows[0][i : i + 1], *rows[1:]) for i in range(q.shape[2])]
        out, lse = torch.cat([p[0] for p in parts]), torch.cat([p[1] for p in parts], 1)
    return out.transpose(0, 1)[None].to(q.dtype), lse[None], torch.empty(0), torch.empty(0)


def install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put the emulations where the backends look for the libraries."""
    for name, functions in {
        "flash_attn": {},
        "flash_attn.flash_attn_interface": {
            "flash_attn_varlen_func": flash2_varlen,
            "flash_attn_with_kvcache": flash2_kvcache,
        },
        "flash_attn_interface": {"flash_attn_with_kvcache": flash3_kvcache},
        "flash_attn.cute": {"flash_attn_varlen_func": flash4_varlen},
    }.items():
        module = types.ModuleType(name)
        vars(module).update(functions)
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(torch.ops.aten, "_scaled_dot_product_flash_attention", torch_flash)
    monkeypatch.setattr(torch.ops.aten, "_scaled_dot_product_efficient_attention", torch_efficient)
