"""Which layers of a model one stage holds, and the modules in place of what other stages hold.

The transformer's code knows nothing of stages: it is built whole on the meta device, and before anything is
read the layers of other stages are taken out of it. What comes from the stage before takes the embedding's
place.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor, nn

from model.llama.config import LlamaConfig
from model.llama.transformer import Transformer
from model.stages import cut_layers
from model.weights.mapping import Placement


class Before(Protocol):
    """What a stage asks of the one before it (`model.parallel.group.Group`)."""

    def receive(self, shape: tuple[int, int], dtype: torch.dtype) -> Tensor:
        """The hidden states that it has sent."""
        ...


@dataclass(frozen=True)
class Stage:
    """Stage `index` of `count`.

    Attributes:
        config: sizes of the whole model; heads and inner rows may be one rank's.
    """

    config: LlamaConfig
    index: int
    count: int

    @property
    def layers(self) -> tuple[int, int]:
        """First and one past the last. Raises ParameterError where there are more stages than layers."""
        return cut_layers(self.config.layers, self.count)[self.index]

    @property
    def first(self) -> bool:
        """Whether it embeds."""
        return self.index == 0

    @property
    def last(self) -> bool:
        """Whether it gives logits."""
        return self.index == self.count - 1

    @property
    def part(self) -> LlamaConfig:
        """The sizes, with the layers of this stage alone."""
        first, last = self.layers
        return replace(self.config, layers=last - first)

    def keep(self, model: Transformer, placements: Mapping[str, Placement]) -> dict[str, Placement]:
        """Take out of a model on the meta device what other stages hold.

        Returns:
            Of the placements, those of what is left, by its names there.
        """
        if self.count == 1:
            return dict(placements)
        first, last = self.layers
        model.blocks = model.blocks[first:last]
        head = self.last and model.output is None and not self.first
        if head:  # tied: the last stage has the embedding for its head
            model.output = model.embed  # type: ignore[assignment]
        if not self.first:
            model.embed = Elsewhere()  # type: ignore[assignment]
        if not self.last:
            model.norm = Elsewhere()  # type: ignore[assignment]
            model.output = Elsewhere()  # type: ignore[assignment]
        held = {name for name, _ in [*model.named_parameters(), *model.named_buffers()]}
        found = {}
        for name, place in placements.items():
            ours = self._name(place.parameter, head=head)
            if ours in held:
                found[name] = replace(place, parameter=ours)
        return found

    def join(self, model: Transformer, before: Before) -> None:
        """Let the hidden states of the stage before take the place of the embedding's rows."""
        if not self.first:
            dtype = next(model.blocks.parameters()).dtype
            model.embed = Received(before, self.config.hidden_size, dtype)  # type: ignore[assignment]

    def _name(self, parameter: str, *, head: bool) -> str:
        if head and parameter.startswith("embed."):
            return "output." + parameter.removeprefix("embed.")
        if not parameter.startswith("blocks."):
            return parameter
        _, layer, rest = parameter.split(".", 2)
        return f"blocks.{int(layer) - self.layers[0]}.{rest}"


class Elsewhere(nn.Module):
    """Stands for a part that another stage holds."""


class Received(nn.Module):
    """Gives the hidden states that the stage before has sent, whatever the tokens are."""

    def __init__(self, before: Before, width: int, dtype: torch.dtype) -> None:
        super().__init__()
        self._before, self._width, self._dtype = before, width, dtype

    def forward(self, tokens: Tensor) -> Tensor:
        """Ids [n] -> [n, hidden]."""
        return self._before.receive((len(tokens), self._width), self._dtype)
