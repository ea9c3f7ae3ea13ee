"""The reader in training: the encoder as it is, with an adapter beside its layers that learns.

`rag.span_reader` adds what was learned to the matrices themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional

from rag.embedders.packed import PackedEncoder
from rag.span_reader import MATRICES

RANK = 16

Low = tuple[Tensor, Tensor]


class Adapter(torch.nn.Module):
    """The trained part: what is added to the layers, and three rows: start and end of the answer, and
    one number for the whole, which only helps to learn."""

    def __init__(self, encoder: PackedEncoder) -> None:
        """Start as the encoder itself: nothing is added, and the rows say nothing."""
        super().__init__()
        self._layers = len(encoder.layers)
        self.low = torch.nn.ParameterDict()
        for number, layer in enumerate(encoder.layers):
            for name in MATRICES:
                out, into = getattr(layer, name)[0].shape
                self.low[f"{number}_{name}_down"] = torch.nn.Parameter(torch.randn(RANK, into) / into**0.5)
                self.low[f"{number}_{name}_up"] = torch.nn.Parameter(torch.zeros(out, RANK))
        self.rows = torch.nn.Parameter(torch.zeros(3, encoder.layers[-1].out[0].shape[0]))
        self.bias = torch.nn.Parameter(torch.zeros(3))

    def added(self, dtype: torch.dtype) -> list[dict[str, Low]]:
        """(down, up) of each matrix of each layer."""
        return [
            {
                name: (self.low[f"{number}_{name}_down"].to(dtype), self.low[f"{number}_{name}_up"].to(dtype))
                for name in MATRICES
            }
            for number in range(self._layers)
        ]

    def save(self, path: Path) -> None:
        """Write it in float16."""
        save_file({name: value.detach().half() for name, value in self.state_dict().items()}, path)


class TrainedReader:
    """The encoder with an adapter."""

    def __init__(self, encoder: PackedEncoder, adapter: Adapter) -> None:
        self.adapter = adapter
        self._encoder = encoder

    def scores(self, rows: Sequence[Sequence[int]]) -> list[Tensor]:
        """Start, end and whole of every token of each row of ids, float32[tokens, 3]."""
        encoder = self._encoder
        lengths = torch.tensor([len(row) for row in rows])
        with torch.no_grad():
            embedded = encoder.states(rows, 0)
        states = [each.clone() for each in torch.split(embedded, lengths.tolist())]
        hidden = torch.nn.utils.rnn.pad_sequence(states, batch_first=True)
        batch, longest, width = hidden.shape
        mask = torch.zeros(batch, 1, 1, longest, dtype=hidden.dtype)
        mask.masked_fill_(torch.arange(longest) >= lengths[:, None, None, None], -1e4)
        size = width // encoder.heads
        for layer, low in zip(encoder.layers, self.adapter.added(hidden.dtype), strict=True):
            qkv = _product(hidden, layer.qkv, low["qkv"]).view(batch, longest, 3, encoder.heads, size)
            query, key, value = (part.transpose(1, 2) for part in qkv.unbind(2))
            # written out, since the gradient of torch's own is three times slower in bfloat16
            weights = torch.softmax(torch.matmul(query * size**-0.5, key.transpose(2, 3)) + mask, -1)
            mixed = torch.matmul(weights, value).transpose(1, 2).reshape(batch, longest, width)
            hidden = _norm(_product(mixed, layer.out, low["out"]) + hidden, layer.out_norm, encoder.eps)
            wide = _Gelu.apply(_product(hidden, layer.up, low["up"]))  # type: ignore[no-untyped-call]
            hidden = _norm(_product(wide, layer.down, low["down"]) + hidden, layer.down_norm, encoder.eps)
        scores = hidden.float() @ self.adapter.rows.T + self.adapter.bias
        return [each[:length] for each, length in zip(scores, lengths.tolist(), strict=True)]


class _Gelu(torch.autograd.Function):
    """GELU whose gradient is taken in float32: torch's in bfloat16 is 25 times slower on a CPU."""

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        ctx.save_for_backward(value)
        return functional.gelu(value)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (value,) = ctx.saved_tensors
        wide: Tensor = torch.ops.aten.gelu_backward(gradient.float(), value.float())
        return wide.to(value.dtype)


def _product(hidden: Tensor, weights: tuple[Tensor, Tensor], low: Low) -> Tensor:
    return functional.linear(hidden, *weights) + functional.linear(functional.linear(hidden, low[0]), low[1])


def _norm(hidden: Tensor, weights: tuple[Tensor, Tensor], eps: float) -> Tensor:
    return functional.layer_norm(hidden, (hidden.shape[-1],), *weights, eps)
