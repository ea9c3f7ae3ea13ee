"""Runs the model over the tokens of one sequence, chunk by chunk, and keeps its KV cache."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from model.attention import Attend, Batch
from model.kv.cache import KVCache
from model.llama.config import LlamaConfig
from model.llama.rope import Rope
from model.llama.transformer import Transformer


class Runner:
    """Weights, rotation, attention backend and one sequence's cache.

    Prompts are cut where the absolute position is a multiple of `chunk`. The cuts of a prompt are
    therefore the same whether it is read from its start or from a reused prefix, and so is every
    rounding: what the cache holds never depends on how it came there.
    """

    def __init__(
        self, model: Transformer, config: LlamaConfig, rope: Rope, attend: Attend, chunk: int
    ) -> None:
        self._model, self._config, self._rope, self._attend = model, config, rope, attend
        self.chunk = chunk
        self.device = model.embed.weight.device
        self.dtype = model.embed.weight.dtype
        self._cache = KVCache(config, self.device, self.dtype)
        self._prompt: list[int] = []

    def reusable(self, tokens: Sequence[int], wanted: int) -> int:
        """How many leading tokens need not be read again: whole chunks of the last prompt, up to `wanted`.

        Generated tokens do not count: their keys and values come from steps of one token, whose rounding
        differs from a chunk's.

        Args:
            wanted: the first position whose hidden state is needed.
        """
        limit = min(len(self._prompt), wanted)
        same = next((i for i in range(limit) if self._prompt[i] != tokens[i]), limit)
        return same // self.chunk * self.chunk

    def prefill(self, tokens: Sequence[int], wanted: int) -> Iterator[tuple[int, Tensor]]:
        """Read a prompt from `reusable(tokens, wanted)` on.

        Yields:
            After each chunk, its first position and its hidden states [n, hidden].
        """
        start = self.reusable(tokens, wanted)
        del self._prompt[start:]
        self._cache.reserve(len(tokens) + 1)
        while start < len(tokens):
            end = min(len(tokens), (start // self.chunk + 1) * self.chunk)
            hidden = self.forward(tokens[start:end], start)
            self._prompt += tokens[start:end]
            yield start, hidden
            start = end

    @torch.inference_mode()
    def forward(self, tokens: Sequence[int], start: int) -> Tensor:
        """Hidden states [n, hidden] of n tokens from position `start` on; caches their keys and values."""
        end = start + len(tokens)
        self._cache.reserve(end)
        batch = Batch(
            start=start,
            rotation=self._rope.table(torch.arange(start, end, device=self.device)),
            cache=self._cache,
            attend=self._attend,
        )
        hidden: Tensor = self._model(torch.tensor(tokens, device=self.device), batch)
        return hidden

    @torch.inference_mode()
    def logits(self, hidden: Tensor) -> Tensor:
        """Logits [m, vocab] (float32) of hidden states [m, hidden]."""
        return self._model.head(hidden)

    def forget(self) -> None:
        """Drop the cache and its memory."""
        self._cache = KVCache(self._config, self.device, self.dtype)
        self._prompt = []
