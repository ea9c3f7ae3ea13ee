"""LoRA: a frozen matrix beside a trained product of two narrow ones (Hu et al. 2021)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

MATRICES = ("attention.qkv", "attention.out", "ffn.gate_up", "ffn.down")
"""The matrices of a block that get an adapter."""


@dataclass(frozen=True)
class LoRA:
    """How wide the adapters are, and what their product is scaled by: `alpha / rank`."""

    rank: int = 32
    alpha: float = 64.0

    @property
    def scale(self) -> float:
        """What the product is multiplied by."""
        return self.alpha / self.rank


class Adapter(nn.Module):
    """The two matrices beside one frozen one, float32. At first their product is 0."""

    def __init__(self, rows: int, columns: int, lora: LoRA, random: torch.Generator) -> None:
        super().__init__()
        bound = columns**-0.5
        self.a = nn.Parameter(torch.empty(lora.rank, columns).uniform_(-bound, bound, generator=random))
        self.b = nn.Parameter(torch.zeros(rows, lora.rank))
        self._scale = lora.scale

    def forward(self, x: Tensor) -> Tensor:
        """What is to be added to x Wᵀ: [n, in] -> [n, out]."""
        return F.linear(F.linear(x, self.a.to(x.dtype)), (self._scale * self.b).to(x.dtype))

    def product(self) -> Tensor:
        """What is to be added to W, float32 [out, in]."""
        return self._scale * self.b.detach() @ self.a.detach()
