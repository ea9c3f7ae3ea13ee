"""A model as one call of `src/stack.c`, tokens to logits: for passes of few rows, and of many by tiles.

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
from model.logits import Logits
from model.native import kernels
from model.native.library import call
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
        self._vocabulary = ends.output.rows
        self._stack = _Stack(
            self._array, ends.embed.address, ends.output.address, ends.norm.data_ptr(),
            len(layers), heads, kv_heads, dim, block_size, ends.norm.dtype is torch.bfloat16, ends.eps, None,
        )  # fmt: skip
        self._address = ctypes.addressof(self._stack)
        self._run = call().longleaf_logits
        matrices = (m for each in layers for m in (each.qkv, each.out, each.gate_up, each.down))
        self.takes_many = all(kernels.takes_many(m, ends.norm.dtype) for m in (ends.output, *matrices))
        """Whether this is the way for passes of more than `FEW_ROWS` rows, too."""

    def time(self, clock: ctypes.c_int64 | None) -> None:
        """From now on add the nanoseconds of products and attention to `clock`; None stops it."""
        self._stack.nanoseconds = None if clock is None else ctypes.addressof(clock)

    def logits(self, tokens: Sequence[int], layout: Layout, rotations: Tensor, rows: Sequence[int]) -> Logits:
        """Token ids [n] -> logits of some rows; keys and values are kept.

        Args:
            rotations: contiguous complex64 [positions, head_dim / 2], as far as `layout` reaches at least.
            rows: ascending, of 0 to n - 1.
        """
        logits = torch.empty(len(rows), self._vocabulary)
        # One array holds all that is counted, `best` to be filled at its end.
        numbers = array(
            "q",
            (
                len(tokens), len(layout.segments) // 4, len(rows), len(layout.table),
                *tokens, *layout.positions, *layout.slots, *layout.segments, *layout.table, *rows, *rows,
            ),
        )  # fmt: skip
        self._run(
            self._address,
            numbers.buffer_info()[0],
            rotations.data_ptr(),
            logits.data_ptr(),
            torch.get_num_threads(),
        )
        return Logits(logits, numbers[len(numbers) - len(rows) :])
