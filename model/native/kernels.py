"""The kernels as functions of tensors. Callers ask `fits` first; there is no check below it.

All take CPU tensors in float32 or bfloat16, add in float32 and round once. A row's result is the same bits
whatever other rows there are and on any number of threads.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from itertools import accumulate

import torch
from torch import Tensor

from model.native.library import call, level, library
from model.native.matrix import Matrix

_BF16 = torch.bfloat16
_DTYPES = (torch.float32, torch.bfloat16)


def fits(x: Tensor) -> bool:
    """Whether the kernels are there and can take this tensor: on the CPU, in a dtype they know."""
    return library() is not None and x.device.type == "cpu" and x.dtype in _DTYPES


def linear(x: Tensor, matrix: Matrix, dtype: torch.dtype | None = None) -> Tensor:
    """x [n, cols] times a matrix [rows, cols] transposed: [n, rows] in `dtype`, by default that of x."""
    x = x.contiguous()
    out = torch.empty(x.shape[0], matrix.rows, dtype=dtype or x.dtype)
    call().longleaf_linear(
        matrix.address, x.data_ptr(), x.dtype is _BF16, x.shape[0], None, out.data_ptr(), out.dtype is _BF16,
        torch.get_num_threads(),
    )  # fmt: skip
    return out


def takes_many(matrix: Matrix, dtype: torch.dtype) -> bool:
    """Whether `linear` is the way for any number of rows of this dtype, not for `FEW_ROWS` alone."""
    return bool(call().longleaf_takes_many(matrix.address, dtype is _BF16))


def unpack(matrix: Matrix, out: Tensor) -> Tensor:
    """Write the real numbers of a packed matrix into `out` [rows, cols]."""
    call().longleaf_unpack(matrix.address, out.data_ptr(), out.dtype is _BF16, torch.get_num_threads())
    return out


def take(matrix: Matrix, ids: Tensor, dtype: torch.dtype) -> Tensor:
    """Rows `ids` [n] (int64, checked by the caller) of a packed matrix: [n, cols]."""
    ids = ids.contiguous()
    out = torch.empty(len(ids), matrix.cols, dtype=dtype)
    call().longleaf_take(
        matrix.address, ids.data_ptr(), len(ids), out.data_ptr(), dtype is _BF16, torch.get_num_threads()
    )
    return out


def norm(x: Tensor, weight: Tensor, eps: float, added: Tensor | None = None) -> Tensor:
    """x / sqrt(mean(x²) + eps) · weight for each row of x [n, width]; first x += added, if given."""
    out = torch.empty_like(x)
    added = None if added is None else added.contiguous()
    call().longleaf_norm(
        x.data_ptr(), None if added is None else added.data_ptr(), weight.data_ptr(), eps, x.shape[0],
        x.shape[1], x.dtype is _BF16, out.data_ptr(), torch.get_num_threads(),
    )  # fmt: skip
    return out


def gate(gate_up: Tensor) -> Tensor:
    """silu(gate) · up of rows that hold both: [n, 2 · width] -> [n, width]."""
    gate_up = gate_up.contiguous()
    n, width = gate_up.shape[0], gate_up.shape[1] // 2
    out = torch.empty(n, width, dtype=gate_up.dtype)
    call().longleaf_gate(
        gate_up.data_ptr(), n, width, out.dtype is _BF16, out.data_ptr(), torch.get_num_threads()
    )
    return out


def rotate(  # noqa: PLR0917
    qkv: Tensor, heads: int, table: Tensor, slots: Tensor, keys: Tensor, values: Tensor
) -> Tensor:
    """Rotate queries and keys; keys and values go to their slots in the KV pool.

    Args:
        qkv: [n, heads + 2 · kv_heads, head_dim].
        table: complex64 [n, 1, head_dim / 2].
        slots: int64 [n].
        keys, values: [blocks, block_size, kv_heads, head_dim], contiguous, in the dtype of qkv.

    Returns:
        The rotated queries [n, heads, head_dim].
    """
    n, _, dim = qkv.shape
    qkv, table, slots = qkv.contiguous(), table.contiguous(), slots.contiguous()
    queries = torch.empty(n, heads, dim, dtype=qkv.dtype)
    call().longleaf_rotate(
        qkv.data_ptr(), table.data_ptr(), slots.data_ptr(), n, heads, keys.shape[2], dim, qkv.dtype is _BF16,
        queries.data_ptr(), keys.data_ptr(), values.data_ptr(), torch.get_num_threads(),
    )  # fmt: skip
    return queries


class Attention(ctypes.Structure):
    """`attention` of src/attend.c."""

    _fields_ = tuple(
        (name, ctypes.c_void_p) for name in ("queries", "keys", "values", "out", "lse", "segments", "table")
    ) + tuple(
        (name, ctypes.c_int64)
        for name in (
            "n",
            "segment_count",
            "heads",
            "kv_heads",
            "dim",
            "block_size",
            "query_stride",
            "key_stride",
            "is_bf16",
            "is_causal",
        )
    )


def attend(  # noqa: PLR0917
    queries: Tensor, keys: Tensor, values: Tensor, segments: Tensor, table: Tensor, lse: Tensor | None
) -> Tensor:
    """Causal attention over paged keys.

    Args:
        queries: [n, heads, head_dim], the last two axes contiguous.
        keys, values: [blocks, block_size, kv_heads, head_dim], contiguous, in the dtype of the queries.
        segments: int64 [segments, 4]: first row, start, count, offset of its blocks in `table`.
        table: int64, block ids of all segments.
        lse: float32 [heads, n] to be filled, or None.
    """
    n, heads, dim = queries.shape
    out = torch.empty(n, heads, dim, dtype=queries.dtype)
    arguments = Attention(
        queries.data_ptr(), keys.data_ptr(), values.data_ptr(), out.data_ptr(),
        None if lse is None else lse.data_ptr(), segments.data_ptr(), table.data_ptr(),
        n, len(segments), heads, keys.shape[2], dim, keys.shape[1], queries.stride(0), keys.shape[2] * dim,
        queries.dtype is _BF16, True,
    )  # fmt: skip
    call().longleaf_attend(ctypes.addressof(arguments), torch.get_num_threads())
    return out


def attends_by_tiles(like: Tensor, dim: int) -> bool:
    """Whether attention of such tensors, with heads of this size, is multiplied by tiles."""
    return fits(like) and level() == "amx" and like.dtype is _BF16 and dim % 32 == 0


def attend_within(qkv: Tensor, heads: int, lengths: Sequence[int]) -> Tensor:
    """Attention of texts laid end to end, each token seeing every token of its text: [n, heads, head_dim].

    Args:
        qkv: [n, 3 · heads · head_dim], contiguous: query, key and value of each token.
        lengths: tokens of each text, n together.
    """
    n, dim = qkv.shape[0], qkv.shape[1] // (3 * heads)
    out = torch.empty(n, heads, dim, dtype=qkv.dtype)
    ends = accumulate(lengths)
    segments = torch.tensor([[end - own, 0, own, end - own] for own, end in zip(lengths, ends, strict=True)])
    table, apart, row = torch.arange(n), heads * dim * qkv.element_size(), qkv.stride(0)
    arguments = Attention(
        qkv.data_ptr(), qkv.data_ptr() + apart, qkv.data_ptr() + 2 * apart, out.data_ptr(), None,
        segments.data_ptr(), table.data_ptr(), n, len(segments), heads, heads, dim, 1, row, row,
        qkv.dtype is _BF16, False,
    )  # fmt: skip
    call().longleaf_attend(ctypes.addressof(arguments), torch.get_num_threads())
    return out
