"""What one forward pass is about, explicit and frozen: no module keeps state between steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from model.kv.cache import KVCache


class Attend(Protocol):
    """The interface of every attention backend."""

    def __call__(self, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Causal attention of the last n positions over all of them.

        Args:
            queries: [n, heads, head_dim], those of the last n of `total` positions.
            keys: [kv_heads, total, head_dim]; query head h reads key head h // (heads / kv_heads).
            values: like `keys`.

        Returns:
            [n, heads, head_dim]. Query i sees positions up to total - n + i. Scores are divided by
            sqrt(head_dim).
        """
        ...


@dataclass(frozen=True)
class Batch:
    """One step of one sequence: n new tokens at positions start … start + n - 1.

    Attributes:
        start: number of tokens whose keys and values the cache already holds.
        rotation: rotary table of the new positions, complex64 [n, 1, head_dim / 2].
        cache: keys and values of the sequence; the step appends to it.
        attend: the attention backend.
    """

    start: int
    rotation: Tensor
    cache: KVCache
    attend: Attend
