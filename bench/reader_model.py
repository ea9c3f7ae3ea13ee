"""A reader: the bundled encoder over question and passage together, with an adapter that says where the
answer stands and whether it does.

The adapter adds a matrix of low rank to each of the last layers and has three rows on top: start and end of
the answer among the passage's tokens, each beside the state of the first token, which stands for "it is not
said here", and one number for the whole. It is no part of the service (docs/decisions/0302-refusal.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional

from rag.embedders.packed import PackedEncoder
from rag.embedders.unigram import UnigramTokenizer

ANSWER_TOKENS = 24
"""Longest answer that is pointed at."""
PAIR_TOKENS = 320
"""Longest question and passage together; the passage's end is cut off."""
LAYERS = 6
"""The last ones get an adapter; the states below them do not change in training and are computed once."""
RANK = 16
_MATRICES = ("qkv", "out", "up", "down")

Low = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Reading:
    """What was read in one passage: by how much the likeliest answer's score exceeds that of no answer, and
    the logit of the passage saying it at all."""

    margin: float
    stated: float


class Adapter(torch.nn.Module):
    """The trained part: what is added to the last layers, and the three rows."""

    def __init__(self, encoder: PackedEncoder) -> None:
        """Start as the encoder itself: nothing is added, and the rows say nothing."""
        super().__init__()
        self.low = torch.nn.ParameterDict()
        for number, layer in enumerate(encoder.layers[-LAYERS:]):
            for name in _MATRICES:
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
                for name in _MATRICES
            }
            for number in range(LAYERS)
        ]

    def save(self, path: Path) -> None:
        """Write it in float16."""
        save_file({name: value.detach().half() for name, value in self.state_dict().items()}, path)

    def load(self, path: Path) -> Adapter:
        """Read what `save` wrote."""
        self.load_state_dict({name: value.float() for name, value in load_file(path).items()})
        return self.eval().requires_grad_(False)


class Reader:
    """The encoder with an adapter."""

    def __init__(self, encoder: PackedEncoder, tokenizer: UnigramTokenizer, adapter: Adapter) -> None:
        self.adapter = adapter
        self._encoder = encoder
        self._tokenizer = tokenizer

    def pair(self, question: str, passage: str) -> tuple[list[int], int]:
        """The ids of both as they are read, and the place of the passage's first token."""
        tokens = self._tokenizer
        head = tokens.encode(f"query: {question}")
        return [*head, *tokens.encode(passage)[1:-1][: PAIR_TOKENS - len(head) - 1], tokens.eos], len(head)

    def below(self, rows: Sequence[Sequence[int]]) -> list[Tensor]:
        """The states of each row under the adapter."""
        with torch.no_grad():
            states = self._encoder.states(rows, len(self._encoder.layers) - LAYERS)
        return [each.clone() for each in torch.split(states, [len(row) for row in rows])]

    def scores(self, states: Sequence[Tensor]) -> list[Tensor]:
        """Start, end and whole of every token of each row, float32[tokens, 3], from the states below."""
        encoder = self._encoder
        hidden = torch.nn.utils.rnn.pad_sequence(list(states), batch_first=True)
        lengths = torch.tensor([len(each) for each in states])
        batch, longest, width = hidden.shape
        mask = torch.zeros(batch, 1, 1, longest, dtype=hidden.dtype)
        mask.masked_fill_(torch.arange(longest) >= lengths[:, None, None, None], -1e4)
        size = width // encoder.heads
        for layer, low in zip(encoder.layers[-LAYERS:], self.adapter.added(hidden.dtype), strict=True):
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

    def read(self, question: str, passages: Sequence[str]) -> list[Reading]:
        """What each passage says to the question."""
        pairs = [self.pair(question, passage) for passage in passages]
        if not pairs:
            return []
        with torch.no_grad():
            scores = self.scores(self.below([ids for ids, _ in pairs]))
        return [best(each, first)[1] for each, (_, first) in zip(scores, pairs, strict=True)]


def best(scores: Tensor, first: int) -> tuple[tuple[int, int], Reading]:
    """The likeliest answer of one row as places in the row, both inclusive, and what was read."""
    null = float(scores[0, 0] + scores[0, 1])
    table = scores[first:-1, 0][:, None] + scores[first:-1, 1][None, :]
    size = len(table)
    if not size:
        return (0, 0), Reading(-null, float(scores[0, 2]))
    gap = torch.arange(size)[None, :] - torch.arange(size)[:, None]
    table = table.masked_fill((gap < 0) | (gap >= ANSWER_TOKENS), float("-inf"))
    at = int(table.argmax())
    place = (first + at // size, first + at % size)
    return place, Reading(float(table.max()) - null, float(scores[0, 2]))


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
