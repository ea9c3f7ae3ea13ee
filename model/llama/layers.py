"""The parts that a block is made of, each with our own kernel for the CPU and torch's for everything else."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.attention.batch import Batch
from model.llama.rope import rotate
from model.native import FEW_ROWS, kernels
from model.native.matrix import Matrix, dense


class Projection(nn.Module):
    """x Wᵀ; few rows on a CPU go to the kernel that computes each the same whatever the others are."""

    weight: Tensor
    _matrix: Matrix | None = None

    def project(self, x: Tensor, dtype: torch.dtype) -> Tensor:
        """[n, in] -> [n, out] in `dtype`; logits are wanted in float32."""
        if len(x) > FEW_ROWS or not kernels.fits(x):
            return F.linear(x, self.weight).to(dtype)
        return kernels.linear(x, self.matrix, dtype)

    @property
    def matrix(self) -> Matrix:
        """The weights as the kernels read them."""
        # Loading and sharding replace the weight: what was seen of it before may be gone.
        if self._matrix is None or self._matrix.codes.data_ptr() != self.weight.data_ptr():
            self._matrix = dense(self.weight)
        return self._matrix


class Linear(Projection, nn.Linear):
    """A projection in the dtype of its input."""

    def forward(self, x: Tensor) -> Tensor:
        """[n, in] -> [n, out]."""
        return self.project(x, x.dtype)


class Embedding(Projection, nn.Embedding):
    """Rows by token id; where the head is tied to it, also the head."""

    def reset_parameters(self) -> None:
        """Draw the rows; on `meta` nothing, for that alone would load torch's compiler."""
        if not self.weight.is_meta:
            super().reset_parameters()


class RMSNorm(nn.RMSNorm):
    """x / sqrt(mean(x²) + eps) · weight (Zhang & Sennrich 2019), accumulated in float32."""

    def forward(self, x: Tensor, added: Tensor | None = None) -> Tensor:
        """[n, width] -> [n, width], after `added` was added to x in place."""
        if kernels.fits(x) and self.weight.dtype == x.dtype and x.is_contiguous():
            return kernels.norm(x, self.weight, self.eps or 0.0, added)
        return super().forward(x if added is None else x.add_(added))


def swiglu(gate_up: Tensor) -> Tensor:
    """silu(gate) · up of rows [n, 2 · width] that hold both: [n, width]."""
    if kernels.fits(gate_up):
        return kernels.gate(gate_up)
    gate, up = gate_up.chunk(2, dim=-1)
    return F.silu(gate).mul_(up)


def rotate_and_store(qkv: Tensor, heads: int, batch: Batch, layer: int) -> Tensor:
    """Rotate queries and keys; write keys and values of `layer` into the batch's slots of the KV pool.

    Args:
        qkv: [n, heads + 2 · kv_heads, head_dim].

    Returns:
        The queries [n, heads, head_dim].
    """
    keys, values = batch.pool.keys(layer), batch.pool.values(layer)
    if kernels.fits(qkv) and keys.dtype == qkv.dtype:
        return kernels.rotate(qkv, heads, batch.rotation, batch.slots, keys, values)
    kv_heads = keys.shape[2]
    rotated = rotate(qkv[:, : heads + kv_heads], batch.rotation)
    batch.pool.write(layer, batch.slots, rotated[:, heads:], qkv[:, heads + kv_heads :])
    return rotated[:, :heads]
