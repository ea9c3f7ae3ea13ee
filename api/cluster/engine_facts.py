"""What an engine of the cluster is: how it is loaded, and what others need to know of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from api.cluster.rank_room import Spread
from rag.settings import Settings

if TYPE_CHECKING:
    from model import Engine, EngineOptions
    from model.llama.config import LlamaConfig
    from model.text.chat import ChatFormat
    from model.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class EnginePlan:
    """How an engine is loaded, wherever it is; arguments as of `model.Engine.load`.

    Attributes:
        spread: over machines of the cluster, if so; None: where the engine is.
    """

    model: str
    device: str
    dtype: str
    options: EngineOptions
    spread: Spread | None = None

    @classmethod
    def of(cls, settings: Settings, spread: Spread | None = None) -> EnginePlan:
        """As the settings say. There is no tier on disk: what an engine has read goes when it goes, so that
        no deletion that it missed can come back with it."""
        from model import EngineOptions  # noqa: PLC0415

        options = EngineOptions(
            processes=settings.model_processes,
            stages=settings.model_stages,
            kv_tokens=settings.kv_tokens or None,
            kv_memory_bytes=settings.kv_memory_bytes,
        )
        return cls(settings.model, settings.device, settings.dtype, options, spread)

    def load(self) -> Engine:
        """The engine. Raises as `Engine.load`."""
        from model import Engine  # noqa: PLC0415

        start = None
        if self.spread is not None:
            from api.cluster.rank_crew import RayCrew  # noqa: PLC0415

            start = partial(RayCrew, spread=self.spread)
        return Engine.load(self.model, self.device, self.dtype, options=self.options, start=start)


@dataclass(frozen=True)
class EngineFacts:
    """What stands in for an engine elsewhere; attributes as of `model.Engine`.

    Attributes:
        block: tokens in a KV block.
        blocks: KV blocks of the pool.
    """

    name: str
    fingerprint: str
    parameter_count: int
    weights: str
    device: str
    dtype: str
    context_length: int
    config: LlamaConfig
    options: EngineOptions
    tokenizer: Tokenizer
    chat_format: ChatFormat | None
    block: int
    blocks: int

    @classmethod
    def of(cls, engine: Engine) -> EngineFacts:
        """Those of a loaded engine."""
        stats = engine.stats()
        return cls(
            engine.name,
            engine.fingerprint,
            engine.parameter_count,
            engine.weights,
            engine.device,
            engine.dtype,
            engine.context_length,
            engine.config,
            replace(engine.options, kv_place=None),
            engine.tokenizer,
            engine.chat_format,
            stats.block_size,
            stats.blocks,
        )
