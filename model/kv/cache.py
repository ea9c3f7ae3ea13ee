"""The KV cache of one sequence: one growing tensor of keys and one of values for each layer."""

from __future__ import annotations

import torch
from torch import Tensor

from model.llama.config import LlamaConfig

_GRAIN = 256
"""Capacity is a multiple of this many tokens."""


class KVCache:
    """Keys and values [kv_heads, capacity, head_dim] per layer; position p of a sequence sits in row p.

    The cache does not know which rows are valid: the caller says where a step starts, and rows behind it
    are overwritten. Growing copies layer by layer, so that the peak is one layer above the total.
    """

    def __init__(self, config: LlamaConfig, device: torch.device, dtype: torch.dtype) -> None:
        self._empty = (config.kv_heads, 0, config.head_dim)
        self._keys = [torch.empty(self._empty, device=device, dtype=dtype) for _ in range(config.layers)]
        self._values = [torch.empty(self._empty, device=device, dtype=dtype) for _ in range(config.layers)]

    @property
    def capacity(self) -> int:
        """Tokens for which memory is held."""
        return self._keys[0].shape[1]

    def reserve(self, tokens: int) -> None:
        """Make room for `tokens` positions, keeping what is there; grows by half at least."""
        if tokens <= self.capacity:
            return
        capacity = -(-max(tokens, self.capacity * 3 // 2) // _GRAIN) * _GRAIN
        for tensors in (self._keys, self._values):
            for layer, old in enumerate(tensors):
                grown = old.new_empty(old.shape[0], capacity, old.shape[2])
                grown[:, : old.shape[1]] = old
                tensors[layer] = grown

    def append(self, layer: int, keys: Tensor, values: Tensor, start: int) -> tuple[Tensor, Tensor]:
        """Write new keys and values [n, kv_heads, head_dim] at `start`; room must have been reserved.

        Returns:
            Views of all keys and all values up to the new ones, [kv_heads, start + n, head_dim].
        """
        end = start + keys.shape[0]
        all_keys, all_values = self._keys[layer][:, :end], self._values[layer][:, :end]
        all_keys[:, start:].copy_(keys.transpose(0, 1))
        all_values[:, start:].copy_(values.transpose(0, 1))
        return all_keys, all_values
