"""Opening: a checkpoint as a network that can be trained."""

from __future__ import annotations

from pathlib import Path

import torch

from model.errors import CheckpointError
from model.hardware import resolve_device
from model.llama.rope import Rope
from model.loading import load_weights
from model.quant.stored import stored_method
from model.training.lora import LoRA
from model.training.network import Network
from model.weights.checkpoint import Checkpoint, open_checkpoint
from model.weights.files import json_object
from model.weights.hub import resolve


def open_network(
    name: str | Path,
    *,
    lora: LoRA | None,
    device: str = "auto",
    dtype: torch.dtype = torch.bfloat16,
    seed: int = 0,
) -> tuple[Network, Checkpoint, Path]:
    """A model to be trained, the checkpoint that it comes from, and where that lies.

    Args:
        name: as `Engine.load` takes it; a GGUF file is trained as the values that it stands for.
        dtype: of activations and frozen weights.
        seed: of what adapters begin with.

    Raises:
        CheckpointError: no model there, one that cannot be read, or a folder in 8 bits.
        HardwareError: no such device.
    """
    source = resolve(name)
    if source.is_dir() and stored_method(json_object(source / "config.json")):
        raise CheckpointError(f"{source} is quantised: train the model that it was made from")
    checkpoint = open_checkpoint(source)
    place = resolve_device(device)
    weights = load_weights(checkpoint, checkpoint.config, place, dtype, "dense")
    rope = Rope.of(checkpoint.config, place, checkpoint.rope_divisors)
    return Network(weights, checkpoint.config, rope, lora=lora, seed=seed), checkpoint, source
