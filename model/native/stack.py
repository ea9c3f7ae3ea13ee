"""All layers of a model as one call of `src/stack.c`, for passes of few rows.

At one row a kernel runs for some ten microseconds, and calling it from Python takes as long. The modules of
`model.llama.transformer` stay the definition of what is computed: here it is the same kernels in the same
order, with the same bits.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

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
        *((name, ctypes.c_int64) for name in ("count", "heads", "kv_heads", "dim", "block_size", "is_bf16")),
        ("eps", ctypes.c_double),
    )


class _Pass(ctypes.Structure):
    """`pass` of src/stack.c."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("hidden", "rotation", "slots", "segments", "table")),
        *((name, ctypes.c_int64) for name in ("n", "segment_count")),
        ("nanoseconds", ctypes.c_void_p),
    )


class Stack:
    """The layers of one model; their weights stay where they are for as long as this lives.

    Attributes:
        clock: where set, the nanoseconds of products and attention are added to it.
    """

    def __init__(self, layers: Sequence[Layer], heads: int, eps: float) -> None:
        self._layers = tuple(layers)  # keeps alive what the addresses point to
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
        self._stack = _Stack(
            self._array, len(layers), heads, kv_heads, dim, block_size,
            layers[0].keys.dtype is torch.bfloat16, eps,
        )  # fmt: skip
        self._address = ctypes.addressof(self._stack)
        self.clock: ctypes.c_int64 | None = None

    def __call__(
        self, hidden: Tensor, rotation: Tensor, slots: Tensor, segments: Tensor, table: Tensor
    ) -> Tensor:
        """Embedded tokens [n, hidden] -> what the last layer gives, in the same memory.

        Args:
            rotation: complex64 [n, 1, head_dim / 2].
            slots: int64 [n], where keys and values go.
            segments, table: as `kernels.attend` takes them.
        """
        hidden, rotation = hidden.contiguous(), rotation.contiguous()
        arguments = _Pass(
            hidden.data_ptr(), rotation.data_ptr(), slots.data_ptr(), segments.data_ptr(), table.data_ptr(),
            len(hidden), len(segments), None if self.clock is None else ctypes.addressof(self.clock),
        )  # fmt: skip
        call().longleaf_stack(self._address, ctypes.addressof(arguments), torch.get_num_threads())
        return hidden
