"""Rotary position embedding (Su et al. 2021) with the frequency stretching of Llama 3.1.

Queries and keys are kept in the interleaved layout of Meta's own files: elements 2i and 2i+1 of a head
are the real and imaginary part of one complex number, so that a rotation is one complex product.
Tables and products are float32 whatever the model's dtype: in bfloat16 the angle of position 100,000
would be off by hundreds of radians.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from model.llama.config import LlamaConfig, RopeScaling

GRAIN = 4096
"""Positions by which the table grows: always whole steps of the same shape, so that an entry has the same
bits however the table came to its length (vectorised and scalar cosines differ in the last digit)."""


class Rope:
    """Rotation tables for any position; a plain object, so that no `.to(dtype)` of a module reaches it.

    Positions are looked up in one table that grows as far as they reach: at head_dim 128, 64 MiB for 131,072.
    """

    def __init__(self, frequencies: Tensor, device: torch.device) -> None:
        self._frequencies = frequencies.to(device=device, dtype=torch.float32)
        self._table = torch.empty(0, len(frequencies), dtype=torch.complex64, device=device)

    @classmethod
    def of(cls, config: LlamaConfig, device: torch.device, divisors: Tensor | None = None) -> Rope:
        """The rotation of one model.

        Args:
            divisors: [head_dim / 2] from a GGUF `rope_freqs` tensor. They already hold the whole
                stretching, so the config's own is not applied on top.
        """
        frequencies = base_frequencies(config.head_dim, config.rope_theta)
        if divisors is not None:
            frequencies = frequencies / divisors.float()
        elif config.rope_scaling is not None:
            frequencies = stretch(frequencies, config.rope_scaling)
        return cls(frequencies, device)

    def table(self, positions: Sequence[int]) -> Tensor:
        """Unit complex numbers [n, 1, head_dim / 2] (complex64) that rotate position p by p · frequency."""
        rows = torch.as_tensor(positions, device=self._table.device)
        return self.upto(max(positions) + 1).index_select(0, rows).unsqueeze(1)

    def upto(self, count: int) -> Tensor:
        """The whole table, complex64 [at least count, head_dim / 2]; a later one may lie elsewhere."""
        self.reserve(count)
        return self._table

    def reserve(self, count: int) -> None:
        """Make the table hold positions 0 … count - 1; where it has to grow, it grows by half at least."""
        held = len(self._table)
        if count <= held:
            return
        steps = [
            torch.arange(begin, begin + GRAIN, device=self._table.device).float()[:, None] * self._frequencies
            for begin in range(held, max(count, held + held // 2), GRAIN)
        ]
        # As transformers does it: the angle is rounded to float32 before its cosine is taken.
        self._table = torch.cat([self._table, *(torch.complex(x.cos(), x.sin()) for x in steps)])


def base_frequencies(head_dim: int, theta: float) -> Tensor:
    """theta^(-2i / head_dim) for i in [0, head_dim / 2), float32."""
    return 1.0 / theta ** (torch.arange(0, head_dim, 2, dtype=torch.int64).float() / head_dim)


def stretch(frequencies: Tensor, scaling: RopeScaling) -> Tensor:
    """Llama 3.1: keep short waves, divide long ones by `factor`, and blend smoothly in between.

    Source: `apply_scaling` in Meta's llama-models reference implementation.
    """
    low, high = scaling.low_freq_factor, scaling.high_freq_factor
    waves = 2 * math.pi / frequencies
    longest, shortest = scaling.original_context / low, scaling.original_context / high
    share = (scaling.original_context / waves - low) / (high - low)
    blended = (1 - share) * frequencies / scaling.factor + share * frequencies
    stretched = torch.where(waves > longest, frequencies / scaling.factor, frequencies)
    return torch.where((waves >= shortest) & (waves <= longest), blended, stretched)


def rotate(x: Tensor, table: Tensor) -> Tensor:
    """Rotate heads [n, heads, head_dim] by a table [n, 1, head_dim / 2], computed in float32."""
    n, heads, head_dim = x.shape
    pairs = torch.view_as_complex(x.float().view(n, heads, head_dim // 2, 2))
    return torch.view_as_real(pairs * table).view(n, heads, head_dim).to(x.dtype)
