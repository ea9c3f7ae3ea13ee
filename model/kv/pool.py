"""The memory of the KV cache: fixed blocks of token slots, the same ones in every layer."""

from __future__ import annotations

import torch
from torch import Tensor


class KVPool:
    """Keys and values of all layers in one tensor, cut into blocks of `block_size` tokens.

    A block id names the same place in every layer. The pool does not know whose a block is or whether it
    holds anything: `model.kv.blocks` does. Memory that was never written costs nothing on a CPU, where the
    system hands out pages when they are touched.

    Attributes:
        device, dtype: where keys and values are, and in which form.
        block_bytes: bytes of one block over all layers.
    """

    def __init__(  # noqa: PLR0917 - a shape, in its own order
        self,
        layers: int,
        blocks: int,
        block_size: int,
        kv_heads: int,
        head_dim: int,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        self.blocks, self.block_size = blocks, block_size
        self.device, self.dtype = device, dtype
        self._storage = torch.empty(
            layers, 2, blocks, block_size, kv_heads, head_dim, device=device, dtype=dtype
        )
        self._layers = [(layer[0], layer[1]) for layer in self._storage]
        self._rows = [(keys.flatten(0, 1), values.flatten(0, 1)) for keys, values in self._layers]
        self.block_bytes = self._storage[:, :, 0].numel() * self._storage.element_size()

    def keys(self, layer: int) -> Tensor:
        """[blocks, block_size, kv_heads, head_dim], a view."""
        keys: Tensor = self._layers[layer][0]
        return keys

    def values(self, layer: int) -> Tensor:
        """[blocks, block_size, kv_heads, head_dim], a view."""
        values: Tensor = self._layers[layer][1]
        return values

    def write(self, layer: int, slots: Tensor, keys: Tensor, values: Tensor) -> None:
        """Put keys and values [n, kv_heads, head_dim] into slots [n] (block · block_size + offset, int64)."""
        own_keys, own_values = self._rows[layer]
        own_keys.index_copy_(0, slots, keys)
        own_values.index_copy_(0, slots, values)

    def read(self, block: int) -> Tensor:
        """A copy of one block on the CPU: [layers, 2, block_size, kv_heads, head_dim]."""
        return self._storage[:, :, block].to("cpu", copy=True)

    def load(self, block: int, content: Tensor) -> None:
        """Fill one block with what `read` gave."""
        self._storage[:, :, block].copy_(content)
