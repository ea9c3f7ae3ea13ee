"""The Llama 3 decoder (Grattafiori et al. 2024), top to bottom: block = attention + SwiGLU, both pre-normed.

A sequence is a flat list of n tokens, no batch axis. What the model has read before, how far it is, and
which kernel attends are in the `Batch`; the modules hold weights and nothing else.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from model.attention.batch import Batch
from model.kv.pool import KVPool
from model.llama.config import LlamaConfig
from model.llama.layers import Embedding, Linear, Projection, RMSNorm, rotate_and_store, swiglu
from model.native import kernels
from model.native.stack import Ends, Layer, Stack


class Attention(nn.Module):
    """Grouped-query self-attention: query heads share fewer key heads (Ainslie et al. 2023)."""

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self.heads, self.kv_heads, self.head_dim = config.heads, config.kv_heads, config.head_dim
        # One matrix for q, k and v: one product instead of three, and q and k are rotated together.
        rows = (config.heads + 2 * config.kv_heads) * config.head_dim
        self.qkv = Linear(config.hidden_size, rows, bias=False)
        self.out = Linear(config.heads * config.head_dim, config.hidden_size, bias=False)

    def forward(self, x: Tensor, batch: Batch, layer: int) -> Tensor:
        """[n, hidden] -> [n, hidden]; writes the n new keys and values of `layer` into the KV pool."""
        n = x.shape[0]
        qkv = self.qkv(x).view(n, self.heads + 2 * self.kv_heads, self.head_dim)
        queries = rotate_and_store(qkv, self.heads, batch, layer)
        mixed = batch.attend(queries, batch.pool.keys(layer), batch.pool.values(layer), batch.plan)
        return self.out(mixed.reshape(n, self.heads * self.head_dim))  # type: ignore[no-any-return]


class FeedForward(nn.Module):
    """SwiGLU: down(silu(gate(x)) · up(x)) (Shazeer 2020), with gate and up in one matrix."""

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self.gate_up = Linear(config.hidden_size, 2 * config.ffn_size, bias=False)
        self.down = Linear(config.ffn_size, config.hidden_size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """[n, hidden] -> [n, hidden]."""
        return self.down(swiglu(self.gate_up(x)))  # type: ignore[no-any-return]


class Stream:
    """The residual stream [n, hidden]. Each sum is left to the norm after it, which reads the same rows."""

    def __init__(self, rows: Tensor) -> None:
        self._rows = rows
        self._added: Tensor | None = None

    def add(self, rows: Tensor) -> None:
        """Add rows [n, hidden]."""
        self._rows, self._added = self.rows, rows

    def normed(self, norm: RMSNorm) -> Tensor:
        """The norm of the rows, [n, hidden]."""
        added, self._added = self._added, None  # let go of at once: it is as large as the rows
        return norm(self._rows, added)  # type: ignore[no-any-return]

    @property
    def rows(self) -> Tensor:
        """All of them, added up."""
        if self._added is not None:
            self._rows.add_(self._added)
            self._added = None
        return self._rows


class Block(nn.Module):
    """One layer: attention and feed-forward, each on the normed stream and added back to it."""

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self.attention_norm = RMSNorm(config.hidden_size, eps=config.norm_eps)
        self.attention = Attention(config)
        self.ffn_norm = RMSNorm(config.hidden_size, eps=config.norm_eps)
        self.ffn = FeedForward(config)

    def forward(self, stream: Stream, batch: Batch, layer: int) -> None:
        """Adds what the layer has to say to the stream."""
        stream.add(self.attention(stream.normed(self.attention_norm), batch, layer))
        stream.add(self.ffn(stream.normed(self.ffn_norm)))

    def layer(self, keys: Tensor, values: Tensor) -> Layer | None:
        """The same for `Stack`; None where a product is not the kernels' alone, or a dtype not theirs.

        Args:
            keys, values: this layer of the KV pool.
        """
        products = self.attention.qkv, self.attention.out, self.ffn.gate_up, self.ffn.down
        norms = self.attention_norm.weight.detach(), self.ffn_norm.weight.detach()
        matrices: list[Any] = [getattr(each, "matrix", None) for each in products]
        if None in matrices or not kernels.fits(keys) or any(each.dtype != keys.dtype for each in norms):
            return None
        qkv, out, gate_up, down = matrices
        return Layer(*norms, qkv, out, gate_up, down, keys, values)


class Transformer(nn.Module):
    """Embedding, blocks, final norm; `head` turns the rows that are wanted into logits.

    Attributes:
        words: rows of the head.
    """

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self.words = config.vocab_size
        self.embed = Embedding(config.vocab_size, config.hidden_size)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.norm = RMSNorm(config.hidden_size, eps=config.norm_eps)
        # A tied model has no matrix of its own here: moving or casting modules would silently untie one.
        self.output = None if config.tied else Linear(config.hidden_size, config.vocab_size, bias=False)

    def forward(self, tokens: Tensor, batch: Batch) -> Tensor:
        """Token ids [n] -> final hidden states [n, hidden]."""
        stream = Stream(self.embed(tokens))
        for layer, block in enumerate(self.blocks):
            block(stream, batch, layer)
        return stream.rows

    def stack(self, pool: KVPool) -> Stack | None:
        """The model in one call, for passes of few rows that attend by our kernel; None where it differs.

        It holds on to the weights and the pool as they are now.
        """
        layers: list[Layer] = []
        block: Any  # nn.ModuleList knows no element type
        for index, block in enumerate(self.blocks):
            layer = block.layer(pool.keys(index), pool.values(index))
            if layer is None:
                return None
            layers.append(layer)
        embed, output = (getattr(each, "matrix", None) for each in (self.embed, self._last))
        if embed is None or output is None:
            return None
        ends = Ends(embed, output, self.norm.weight.detach(), self.norm.eps or 0.0)
        return Stack(layers, block.attention.heads, ends)

    def head(self, x: Tensor) -> Tensor:
        """Hidden states [m, hidden] -> logits [m, vocab], float32."""
        return self._last.project(self.norm(x), torch.float32)

    @property
    def _last(self) -> Projection:
        return self.embed if self.output is None else self.output
