"""Which part of a model one rank holds, and the modules that put the ranks' parts together.

Megatron's cut (Shoeybi et al. 2019): attention by heads, the feed-forward by its inner rows; the products
that follow, `out` and `down`, by columns, so that their results are summed over the ranks. Embedding and
head are cut by words. The transformer's code knows nothing of it: it is built with the sizes of the part.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from model.errors import CheckpointError
from model.llama.config import LlamaConfig
from model.llama.transformer import Transformer
from model.plan import shard
from model.quant.fp8 import FP8Linear
from model.weights.mapping import Placement


class Sums(Protocol):
    """What the modules here ask of the other ranks (`model.parallel.group.Group`)."""

    def sum(self, x: Tensor) -> Tensor:
        """The sum of every rank's x, the same on all of them."""
        ...

    def largest(self, x: Tensor) -> Tensor:
        """The element-wise maximum of every rank's x."""
        ...


@dataclass(frozen=True)
class Split:
    """The part of a model that is rank `rank`'s of `ranks`.

    Where there are more ranks than key heads, each key head is held by several of them.

    Attributes:
        config: sizes of the whole model.
    """

    config: LlamaConfig
    rank: int
    ranks: int

    @cached_property
    def part(self) -> LlamaConfig:
        """Sizes of this rank's part.

        Raises:
            ParameterError: the sizes cannot be divided by `ranks`.
        """
        part, (first, last) = shard(self.config, self.ranks), self.words
        return replace(part, vocab_size=last - first)

    @property
    def words(self) -> tuple[int, int]:
        """First and one past the last of the vocabulary's ids that this rank embeds and scores."""
        share = -(-self.config.vocab_size // self.ranks)
        first = min(share * self.rank, self.config.vocab_size)
        return first, min(first + share, self.config.vocab_size)

    @property
    def kv_head(self) -> int:
        """The first key head of this rank."""
        return self.rank * self.config.kv_heads // self.ranks

    def cut(self, place: Placement, source: Tensor) -> tuple[Placement, Tensor]:
        """This rank's part of a tensor of the checkpoint, and where in the part's parameter it goes.

        Args:
            place: where the whole tensor would go in the whole model.
            source: the whole tensor; it is only narrowed, so that a mapped file is not read whole.

        Raises:
            CheckpointError: the tensor has not the size that the configuration says.
        """
        path = place.parameter.removesuffix("_scale").removesuffix(".weight")
        name = path.rsplit(".", 1)[-1]
        if name in {"out", "down"}:
            # A row's scale is of all its columns.
            if place.parameter.endswith("_scale"):
                return place, source
            return place, _narrow(place, source, 1, *self._columns(name))
        start, count, first = self._rows(name, place)
        whole = _narrow(place, source, 0, start, count, place.rows)
        weave = place.weave * count // place.rows
        return replace(place, first=first, rows=count, weave=weave), whole

    def join(self, model: Transformer, group: Sums, *, embeds: bool = True) -> None:
        """Let the parts' sums go over all ranks, in a model that holds this rank's weights.

        Args:
            embeds: whether its tokens are embedded here.
        """
        if self.ranks == 1:
            return
        if embeds:
            model.embed = SplitEmbedding(model.embed, self.words, group)  # type: ignore[assignment]
        block: Any  # nn.ModuleList knows no element type
        for block in model.blocks:
            block.attention.out = Summed(block.attention.out, group)
            block.ffn.down = Summed(block.ffn.down, group)

    def _columns(self, name: str) -> tuple[int, int, int]:
        """First column, how many, and how many there are in the whole matrix."""
        part, whole = self.part, self.config
        if name == "down":
            return self.rank * part.ffn_size, part.ffn_size, whole.ffn_size
        width = part.heads * part.head_dim
        return self.rank * width, width, whole.heads * whole.head_dim

    def _rows(self, name: str, place: Placement) -> tuple[int, int, int]:
        """First row of the source, how many, and where in the part's parameter they go."""
        part, whole = self.part, self.config
        if name in {"embed", "output"}:
            return self.words[0], self.words[1] - self.words[0], 0
        if name == "gate_up":
            return self.rank * part.ffn_size, part.ffn_size, part.ffn_size if place.first else 0
        if name == "qkv":
            dim, width = part.head_dim, part.heads * part.head_dim
            if place.first == 0:
                return self.rank * width, width, 0
            values = place.first > whole.heads * dim
            return self.kv_head * dim, part.kv_heads * dim, width + values * part.kv_heads * dim
        return 0, place.rows, place.first


class SplitEmbedding(nn.Module):
    """Rows of an embedding; ids of other ranks give zeros, and the sum over the ranks gives the row."""

    def __init__(self, rows: nn.Module, words: tuple[int, int], group: Sums) -> None:
        super().__init__()
        self.rows, self._words, self._group = rows, words, group

    def forward(self, tokens: Tensor) -> Tensor:
        """Ids [n] of the whole vocabulary -> [n, hidden]."""
        first, last = self._words
        foreign = (tokens < first) | (tokens >= last)
        rows = self.rows((tokens - first).masked_fill_(foreign, 0))
        return self._group.sum(rows.masked_fill_(foreign[:, None], 0))

    def project(self, x: Tensor, dtype: torch.dtype) -> Tensor:
        """Hidden states [n, hidden] -> this rank's part of a tied head's logits."""
        return self.rows.project(x, dtype)  # type: ignore[no-any-return, operator]


class Summed(nn.Module):
    """A linear layer that holds some columns of a matrix; its results are summed over the ranks."""

    def __init__(self, layer: nn.Module, group: Sums) -> None:
        super().__init__()
        self.layer, self._group = layer, group
        if isinstance(layer, FP8Linear):
            # A token is rounded by the largest of all its values, of which this rank has some.
            layer.across = group.largest

    def forward(self, x: Tensor) -> Tensor:
        """[n, in / ranks] -> [n, out]."""
        return self._group.sum(self.layer(x))


def _narrow(  # noqa: PLR0917 - a slice, in torch's own order
    place: Placement, source: Tensor, axis: int, start: int, count: int, whole: int
) -> Tensor:
    if source.ndim <= axis or source.shape[axis] != whole:
        raise CheckpointError(
            f"a tensor for {place.parameter} has shape {tuple(source.shape)}; the configuration asks for "
            f"{whole} {'columns' if axis else 'rows'}"
        )
    return source.narrow(axis, start, count)
