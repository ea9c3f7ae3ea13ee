"""Loading: a checkpoint onto a device, with as much KV memory as there is room for."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from model.attention import select_attention
from model.errors import HardwareError
from model.executor import LocalExecutor
from model.hardware import memory_bytes
from model.kv.pool import KVPool
from model.llama.config import LlamaConfig
from model.llama.rope import Rope
from model.llama.transformer import Transformer
from model.native import available
from model.options import EngineOptions
from model.plan import WeightKind, count_parameters, room_for_kv
from model.quant.fp8 import FP8Linear
from model.quant.packed import quantise_layers
from model.weights.checkpoint import Checkpoint
from model.weights.mapping import Cut, Placement, fill, give_memory

Keep = Callable[[Transformer, dict[str, Placement]], dict[str, Placement]]
"""Takes out of a model on the meta device what a process does not hold, and what goes there."""


def load_executor(
    checkpoint: Checkpoint,
    device: torch.device,
    dtype: torch.dtype,
    options: EngineOptions,
    weights: str = "dense",
) -> tuple[LocalExecutor, int]:
    """The executor of a model in this process, and how many parameters it has.

    Args:
        dtype: of activations and KV cache, and of dense weights.
        weights: "dense", "packed" (as few bits as in the file, where this processor has the kernels for it)
            or "int8" (eight bits of whatever the file holds, on such a processor only).

    Raises:
        CheckpointError: the weights cannot be read.
        HardwareError: no room for a single chunk of KV cache, or "int8" without the kernels.
    """
    config = checkpoint.config
    if weights == "int8" and not (device.type == "cpu" and available()):
        raise HardwareError("int8 needs a CPU and our kernels: run python -m model.native.build")
    model = load_weights(checkpoint, config, device, dtype, weights)
    rope = Rope.of(config, device, checkpoint.rope_divisors)
    pool = KVPool(
        config.layers, blocks_for(config, device, dtype, options, weights=kind_of(model)), options.block_size,
        config.kv_heads, config.head_dim, device, dtype,
    )  # fmt: skip
    attend = select_attention(
        device, dtype, options.attention, head_dim=config.head_dim, block_size=options.block_size
    )
    return LocalExecutor(model, rope, attend, pool), count_parameters(config)


def load_weights(  # noqa: PLR0917 - those of load_executor
    checkpoint: Checkpoint,
    config: LlamaConfig,
    device: torch.device,
    dtype: torch.dtype,
    weights: str,
    cut: Cut | None = None,
    keep: Keep | None = None,
) -> Transformer:
    """A model, or a part of one, with its weights; beside these, one matrix at a time is in memory.

    Args:
        config: of the model or of the part, with all layers.
        weights: see `load_executor`.
        cut: for a part.
        keep: for a part that has not all layers; nothing of the others is read.

    Raises:
        CheckpointError: the weights cannot be read.
    """
    with torch.device("meta"):
        model = Transformer(config)
    model = model.to(dtype).requires_grad_(False).eval()
    checkpoint.prepare(model, device, packed=weights == "packed")
    placements, read = checkpoint.sources(model)
    if keep is not None:
        placements = keep(model, placements)
    if weights == "int8":
        placements = quantise_layers(model, placements, read, cut)
    give_memory(model, device)
    fill(model, placements, read, cut)
    return model


def kind_of(model: nn.Module) -> WeightKind:
    """What `plan` calls the way in which a model holds its weights on a GPU."""
    return "fp8" if any(isinstance(part, FP8Linear) for part in model.modules()) else "bf16"


def blocks_for(
    config: LlamaConfig,
    device: torch.device,
    dtype: torch.dtype,
    options: EngineOptions,
    *,
    words: int | None = None,
    weights: WeightKind = "bf16",
) -> int:
    """How many KV blocks the options, or the memory that is left, allow; on a GPU as `plan` has it.

    Args:
        config: of the model, or of this process's part of it.
        words: of the whole model's vocabulary, for a part.
        weights: how the loaded weights are held; FP8 layers take more memory while they compute.

    Raises:
        HardwareError: fewer than one chunk needs.
    """
    size, chunk = options.block_size, options.chunk_on(device.type)
    block = 2 * config.layers * config.kv_heads * config.head_dim * size * dtype.itemsize
    if options.kv_tokens is not None:
        room = options.kv_tokens // size
    elif device.type == "cpu":
        room = min(
            2 * -(-config.context_length // size),
            (memory_bytes() or 1 << 62) // (4 * options.world) // block,
        )
    else:
        free, memory = torch.cuda.mem_get_info(device)
        room = (
            room_for_kv(
                config,
                options.step_tokens_on(device.type),
                memory=memory,
                weights=torch.cuda.memory_allocated(device),
                words=words or config.vocab_size,
                outside=max(0, memory - free - torch.cuda.memory_reserved(device)),
                size=dtype.itemsize,
                dtype=weights,
            )
            // block
        )
    if room < chunk // size:
        raise HardwareError(
            f"the KV cache has room for {room * size} tokens, less than the {chunk} of one chunk: "
            "raise kv_tokens, or take a smaller model or dtype"
        )
    return room
