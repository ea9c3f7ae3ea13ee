"""A BERT encoder's forward pass over texts laid end to end: no padding, one product for query, key and value.

The weights are those of a loaded `transformers` model, so what is computed is the same; a pass over texts of
different lengths multiplies no row that stands for nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import copy
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor
from torch.nn import functional

from model.native import kernels

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

PASS_TOKENS = 2048
"""Tokens of one pass, which keeps its activations within the caches."""
_TYPES = frozenset({"BertModel", "XLMRobertaModel", "RobertaModel"})

Pooled = Literal["mean", "cls"]


@dataclass(frozen=True)
class Layer:
    """Weights of one layer: (weight, bias); `qkv` is [3 * hidden, hidden]."""

    qkv: tuple[Tensor, Tensor]
    out: tuple[Tensor, Tensor]
    out_norm: tuple[Tensor, Tensor]
    up: tuple[Tensor, Tensor]
    down: tuple[Tensor, Tensor]
    down_norm: tuple[Tensor, Tensor]


class PackedEncoder:
    """Token ids of several texts to one pooled vector each; holds no state, threads may call at once."""

    def __init__(self, model: Any, pooled: Pooled, first_place: int | None = None) -> None:
        """Take the weights of `model`, a BertModel, RobertaModel or XLMRobertaModel of transformers.

        `first_place` is the row of the table of places that the first token takes, by default as of its kind.
        """
        config, tables = model.config, model.embeddings
        self._pooled = pooled
        self.heads = int(config.num_attention_heads)
        self.eps = float(config.layer_norm_eps)
        self._words = tables.word_embeddings
        # RoBERTa numbers positions from the one after the padding token's; token type 0 is everybody's
        if first_place is None:
            first_place = 0 if type(model).__name__ == "BertModel" else int(tables.padding_idx) + 1
        with torch.inference_mode():
            self._places = (
                tables.position_embeddings.weight[first_place:] + tables.token_type_embeddings.weight[0]
            ).contiguous()
        self._norm = _pair(tables.LayerNorm)
        self.layers = [_layer(layer) for layer in model.encoder.layer]

    @classmethod
    def of(cls, pipeline: SentenceTransformer, model: Any) -> PackedEncoder | None:
        """Return the same computation as the pipeline around `model`, or None where it is another kind.

        It must be a BERT on the CPU with GELU and absolute positions, pooled by mean or first token, and
        nothing but normalisation after that.
        """
        from sentence_transformers.sentence_transformer.modules import Normalize, Pooling  # noqa: PLC0415

        modules: list[Any] = list(pipeline)
        config = getattr(model, "config", None)
        if (
            type(model).__name__ not in _TYPES
            or pipeline.device.type != "cpu"
            or len(modules) not in (2, 3)
            or not isinstance(modules[1], Pooling)
            or not all(isinstance(module, Normalize) for module in modules[2:])
            or modules[1].pooling_mode not in ("mean", "cls")
            or config is None
            or config.hidden_act != "gelu"
            or getattr(config, "position_embedding_type", "absolute") not in (None, "absolute")
            or getattr(config, "is_decoder", False)
        ):
            return None
        return cls(model, modules[1].pooling_mode)

    def with_layers(self, layers: Sequence[Layer]) -> PackedEncoder:
        """The same encoder with other layers; everything else is shared."""
        other = copy(self)
        other.layers = list(layers)
        return other

    def __call__(self, rows: Sequence[Sequence[int]]) -> Tensor:
        """Turn the ids of each text into its pooled vector, float32[len(rows), hidden], not normalised."""
        parts = torch.split(self.states(rows).float(), [len(row) for row in rows])
        return torch.stack([part[0] if self._pooled == "cls" else part.mean(dim=0) for part in parts])

    def states(self, rows: Sequence[Sequence[int]], layers: int | None = None) -> Tensor:
        """Turn the ids of each text into its tokens' states after the first `layers` layers (all of them if
        not given), [tokens of all rows, hidden] end to end.

        Texts of equal length that stand next to one another share one call of attention.
        """
        lengths = [len(row) for row in rows]
        ids = torch.tensor([token for row in rows for token in row])
        places = torch.cat([torch.arange(length) for length in lengths])
        hidden = self._words(ids).to(self._places.dtype) + self._places[places]
        hidden = _normalised(hidden, self._norm, self.eps)
        attend = self._by_tiles if self._has_tiles() else self._by_torch
        for layer in self.layers[:layers]:
            mixed = attend(functional.linear(hidden, *layer.qkv), lengths)
            hidden = _normalised(functional.linear(mixed, *layer.out).add_(hidden), layer.out_norm, self.eps)
            wide = functional.gelu(functional.linear(hidden, *layer.up))
            hidden = _normalised(functional.linear(wide, *layer.down).add_(hidden), layer.down_norm, self.eps)
        return hidden

    def _has_tiles(self) -> bool:
        width = self._places.shape[1]
        return kernels.attends_by_tiles(self._places, width // self.heads)

    def _by_tiles(self, qkv: Tensor, lengths: Sequence[int]) -> Tensor:
        return kernels.attend_within(qkv, self.heads, lengths).flatten(1)

    def _by_torch(self, qkv: Tensor, lengths: Sequence[int]) -> Tensor:
        width = qkv.shape[1] // 3
        out = qkv.new_empty(len(qkv), width)
        for first, texts, length in _groups(lengths):
            shape = (texts, length, self.heads, width // self.heads)
            own = slice(first, first + texts * length)
            query, key, value = qkv[own].view(texts, length, 3, *shape[2:]).permute(2, 0, 3, 1, 4)
            mixed = functional.scaled_dot_product_attention(query, key, value)
            out[own].view(shape).copy_(mixed.transpose(1, 2))
        return out


def passes(lengths: Sequence[int], tokens: int = PASS_TOKENS) -> Iterator[list[int]]:
    """Yield the places of the texts of each pass: the longest first, at most `tokens` or one text in each."""
    batch: list[int] = []
    size = 0
    for place in sorted(range(len(lengths)), key=lambda place: -lengths[place]):
        if batch and size + lengths[place] > tokens:
            yield batch
            batch, size = [], 0
        batch.append(place)
        size += lengths[place]
    if batch:
        yield batch


def _groups(lengths: Sequence[int]) -> Iterator[tuple[int, int, int]]:
    """Yield (first token, texts, length) of each run of equal lengths."""
    first = 0
    for length, run in groupby(lengths):
        texts = len(list(run))
        yield first, texts, length
        first += texts * length


def _normalised(hidden: Tensor, weights: tuple[Tensor, Tensor], eps: float) -> Tensor:
    return functional.layer_norm(hidden, (hidden.shape[1],), *weights, eps)


def _pair(module: Any) -> tuple[Tensor, Tensor]:
    return module.weight.detach(), module.bias.detach()


def _layer(layer: Any) -> Layer:
    own = layer.attention.self
    parts = [_pair(module) for module in (own.query, own.key, own.value)]
    joined = torch.cat([weight for weight, _ in parts]), torch.cat([bias for _, bias in parts])
    # the model's own three become views of the joined ones, so that nothing is held twice
    for number, module in enumerate((own.query, own.key, own.value)):
        rows = slice(number * len(parts[0][0]), (number + 1) * len(parts[0][0]))
        module.weight.data, module.bias.data = joined[0][rows], joined[1][rows]
    return Layer(
        joined,
        _pair(layer.attention.output.dense),
        _pair(layer.attention.output.LayerNorm),
        _pair(layer.intermediate.dense),
        _pair(layer.output.dense),
        _pair(layer.output.LayerNorm),
    )
