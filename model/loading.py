"""Loading: a checkpoint onto a device, with as much KV memory as there is room for."""

from __future__ import annotations

import torch

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
from model.plan import count_parameters
from model.quant.packed import quantise_layers
from model.weights.checkpoint import Checkpoint
from model.weights.mapping import Cut, fill


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
        config.layers, blocks_for(config, device, dtype, options), options.block_size,
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
) -> Transformer:
    """A model, or a part of one, with its weights; beside these, one matrix at a time is in memory.

    Args:
        config: of the model or of the part.
        weights: see `load_executor`.
        cut: for a part.

    Raises:
        CheckpointError: the weights cannot be read.
    """
    with torch.device("meta"):
        model = Transformer(config)
    model = model.to(dtype).requires_grad_(False).eval()
    checkpoint.prepare(model, device, packed=weights == "packed")
    placements, read = checkpoint.sources(model)
    if weights == "int8":
        placements = quantise_layers(model, placements, read, cut)
    model = model.to_empty(device=device).requires_grad_(False)
    fill(model, placements, read, cut)
    return model


def blocks_for(config: LlamaConfig, device: torch.device, dtype: torch.dtype, options: EngineOptions) -> int:
    """How many KV blocks the options, or the memory that is left, allow.

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
            (memory_bytes() or 1 << 62) // (4 * options.processes) // block,
        )
    else:
        free, _ = torch.cuda.mem_get_info(device)
        # Room for the activations of a step: the widest are the gate and up rows, in a few copies.
        step = options.step_tokens_on(device.type)
        activations = 4 * step * (2 * config.ffn_size + 2 * config.hidden_size) * dtype.itemsize
        room = max(0, int(0.95 * free) - activations) // block
    if room < chunk // size:
        raise HardwareError(
            f"the KV cache has room for {room * size} tokens, less than the {chunk} of one chunk: "
            "raise kv_tokens, or take a smaller model or dtype"
        )
    return room
