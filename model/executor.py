"""Executor: one model with its KV pool, asked for one forward pass at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

import torch
from torch import Tensor

from model.attention import Attend, Batch, Segment
from model.attention.layout import lay_out
from model.errors import ModelError
from model.kv.pool import KVPool
from model.llama.rope import Rope
from model.llama.transformer import Transformer
from model.logits import Logits
from model.native import FEW_ROWS


class Executor(Protocol):
    """What the runner needs of a model, whether it is in this process or spread over several.

    Attributes:
        blocks, block_size: how many KV blocks there are, and tokens in each.
        stages: how many passes can be computed at a time; 1 where each waits for the one before.
    """

    @property
    def device(self) -> torch.device: ...

    @property
    def dtype(self) -> torch.dtype: ...

    @property
    def kind(self) -> str:
        """Device, dtype and kernels in words: another kind rounds otherwise."""
        ...

    @property
    def blocks(self) -> int: ...

    @property
    def block_size(self) -> int: ...

    @property
    def stages(self) -> int: ...

    @property
    def failure(self) -> ModelError | None:
        """Why there can be no more passes; None while there can."""
        ...

    def logits(self, tokens: Sequence[int], segments: Sequence[Segment], rows: Sequence[int]) -> Logits:
        """One pass over the segments' new tokens, whose keys and values are kept.

        Args:
            tokens: [n], segment after segment.
            rows: ascending, of 0 to n - 1; may be none.

        Returns:
            Logits of these rows.
        """
        ...

    def begin(
        self, tokens: Sequence[int], segments: Sequence[Segment], rows: Sequence[int]
    ) -> Callable[[], Logits]:
        """The same, begun; what is given waits for the logits and is called once, in the order of the passes.

        A pass finds what those before it have kept, wherever they are.
        """
        ...

    def read(self, block: int) -> Tensor:
        """What a KV block holds: a copy on the CPU, [layers, 2, block_size, kv_heads, head_dim]."""
        ...

    def load(self, block: int, content: Tensor) -> None:
        """Fill a KV block with what `read` gave."""
        ...

    def close(self) -> None:
        """Let go of processes and memory."""
        ...


class LocalExecutor:
    """The whole model in this process, on one device."""

    failure: ModelError | None = None
    stages = 1

    def __init__(self, model: Transformer, rope: Rope, attend: Attend, pool: KVPool) -> None:
        self._model, self._rope, self._attend, self._pool = model, rope, attend, pool
        self.device, self.dtype = pool.device, pool.dtype
        self.blocks, self.block_size = pool.blocks, pool.block_size
        # Passes of few rows take one call instead of some for each layer; with tiles all do.
        self._stack = model.stack(pool) if attend.name == "native" else None
        self.kind = f"{self.device.type} {self.dtype} {attend.name}"

    def logits(self, tokens: Sequence[int], segments: Sequence[Segment], rows: Sequence[int]) -> Logits:
        """See `Executor.logits`."""
        if self._stack is not None and (len(tokens) <= FEW_ROWS or self._stack.takes_many):
            layout = lay_out(segments, self.block_size)
            return self._stack.logits(tokens, layout, self._rope.upto(max(layout.positions) + 1), rows)
        hidden = self.forward(tokens, segments)
        if not rows:
            return Logits(hidden.new_empty(0, self._model.words, dtype=torch.float32))
        if len(rows) < len(hidden):
            hidden = hidden[torch.tensor(rows, dtype=torch.int64, device=self.device)]
        return Logits(self.head(hidden))

    def begin(
        self, tokens: Sequence[int], segments: Sequence[Segment], rows: Sequence[int]
    ) -> Callable[[], Logits]:
        """See `Executor.begin`; all is done when the logits are asked for."""
        return partial(self.logits, tokens, segments, rows)

    @torch.inference_mode()
    def forward(self, tokens: Sequence[int], segments: Sequence[Segment]) -> Tensor:
        """The pass of `logits` as far as the hidden states of all rows, [n, hidden]."""
        layout = lay_out(segments, self.block_size)
        batch = Batch(
            segments=tuple(segments),
            rotation=self._rope.table(layout.positions),
            slots=torch.tensor(layout.slots, device=self.device),
            pool=self._pool,
            attend=self._attend,
            plan=self._attend.plan(segments, self._pool),
        )
        hidden: Tensor = self._model(torch.tensor(tokens, device=self.device), batch)
        return hidden

    @torch.inference_mode()
    def head(self, hidden: Tensor) -> Tensor:
        """Hidden states [m, hidden] -> logits [m, vocab], float32."""
        return self._model.head(hidden)

    def read(self, block: int) -> Tensor:
        """See `Executor.read`."""
        return self._pool.read(block)

    @torch.inference_mode()
    def load(self, block: int, content: Tensor) -> None:
        """See `Executor.load`."""
        self._pool.load(block, content)

    def close(self) -> None:
        """Nothing to let go of: memory goes with the object."""
