"""A model as two calls of `src/stack.c`, for passes of few rows: tokens to hidden states, these to logits.

At one row a kernel runs for some ten microseconds, and calling it from Python takes as long; between two
passes the caches are full of weights, and every call of torch costs as much again. The modules of
`model.llama.transformer` stay the definition of what is computed: here it is the same kernels in the same
order, with the same bits.
"""

from __future__ import annotations

import ctypes
from array import array
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from model.attention.layout import Layout
from model.native.kernels import call
from model.native.matrix import Matrix


@dataclass(frozen=True)
class Layer:
    """Weights of one layer and its part of the KV pool, [blocks, block_size, kv_heads, head_dim] each.

    All tensors contiguous, on the CPU and in one dtype, float32 or bfloat16.
    """

    attention_norm: Tensor
    ffn_norm: Tensor
    qkv: Matrix
    out: Matrix
    gate_up: Matrix
    down: Matrix
    keys: Tensor
    values: Tensor


class _Layer(ctypes.Structure):
    """`layer` of src/stack.c."""

    _fields_ = tuple(
        (name, ctypes.c_void_p)
        for name in ("attention_norm", "ffn_norm", "qkv", "out", "gate_up", "down", "keys", "values")
    )


class _Stack(ctypes.Structure):
    """`stack` of src/stack.c."""

    _fields_ = (
        ("layers", ctypes.POINTER(_Layer)),
        *((name, ctypes.c_void_p) for name in ("embed", "output", "norm")),
        *((name, ctypes.c_int64) for name in ("count", "heads", "kv_heads", "dim", "block_size", "is_bf16")),
        ("eps", ctypes.c_double),
        ("nanoseconds", ctypes.c_void_p),
    )


class _Pass(ctypes.Structure):
    """`pass` of src/stack.c."""

    _fields_ = (
        *(
            (name, ctypes.c_void_p)
            for name in ("hidden", "tokens", "positions", "slots", "rotations", "segments", "table")
        ),
        *((name, ctypes.c_int64) for name in ("n", "segment_count")),
    )


@dataclass(frozen=True)
class Ends:
    """What comes before and after the layers.

    Attributes:
        embed, output: [vocab, hidden] each; the same one in a tied model.
        norm: [hidden], before the output.
        eps: of every norm.
    """

    embed: Matrix
    output: Matrix
    norm: Tensor
    eps: float


class Stack:
    """One model on the CPU; its weights stay where they are for as long as this lives."""

    def __init__(self, layers: Sequence[Layer], heads: int, ends: Ends) -> None:
        self._kept = tuple(layers), ends  # what the addresses point to
        self._array = (_Layer * len(layers))(
            *(
                _Layer(
                    each.attention_norm.data_ptr(), each.ffn_norm.data_ptr(), each.qkv.address,
                    each.out.address, each.gate_up.address, each.down.address, each.keys.data_ptr(),
                    each.values.data_ptr(),
                )
                for each in layers
            )
        )  # fmt: skip
        _, block_size, kv_heads, dim = layers[0].keys.shape
        self._dtype = layers[0].keys.dtype
        self._hidden, self._vocabulary = ends.output.cols, ends.output.rows
        self._stack = _Stack(
            self._array, ends.embed.address, ends.output.address, ends.norm.data_ptr(),
            len(layers), heads, kv_heads, dim, block_size, self._dtype is torch.bfloat16, ends.eps, None,
        )  # fmt: skip
        self._address = ctypes.addressof(self._stack)

    def time(self, clock: ctypes.c_int64 | None) -> None:
        """From now on add the nanoseconds of products and attention to `clock`; None stops it."""
        self._stack.nanoseconds = None if clock is None else ctypes.addressof(clock)

    def forward(self, tokens: Sequence[int], layout: Layout, rotations: Tensor) -> Tensor:
        """Token ids [n] -> what the last layer gives, [n, hidden]; keys and values go to their slots.

        Args:
            rotations: contiguous complex64 [positions, head_dim / 2], as far as `layout` reaches at least.
        """
        hidden = torch.empty(len(tokens), self._hidden, dtype=self._dtype)
        n, count = len(tokens), len(layout.segments)
        numbers = array("q", tokens)
        for part in (layout.positions, layout.slots, layout.segments, layout.table):
            numbers.extend(part)
        first = numbers.buffer_info()[0]
        arguments = _Pass(
            hidden.data_ptr(), first, first + 8 * n, first + 16 * n, rotations.data_ptr(), first + 24 * n,
            first + 24 * n + 8 * count, n, count // 4,
        )  # fmt: skip
        call().longleaf_stack(self._address, ctypes.addressof(arguments), torch.get_num_threads())
        return hidden

    def head(self, hidden: Tensor) -> Tensor:
        """Hidden states [m, hidden] -> logits [m, vocab], float32."""
        hidden = hidden.contiguous()
        logits = torch.empty(len(hidden), self._vocabulary)
        call().longleaf_head(
            self._address, hidden.data_ptr(), len(hidden), logits.data_ptr(), torch.get_num_threads()
        )
        return logits
