"""Opening: a checkpoint as a network that can be trained."""

from __future__ import annotations

from pathlib import Path

from model.errors import CheckpointError
from model.hardware import describe, resolve_device, resolve_dtype
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
    dtype: str = "auto",
    seed: int = 0,
) -> tuple[Network, Checkpoint, Path]:
    """A model to be trained, the checkpoint that it comes from, and where that lies.

    Args:
        name: as `Engine.load` takes it; a GGUF file is trained as the values that it stands for.
        dtype: of activations and frozen weights; "auto" is the one that is fast on the device, as for the
            engine: without bfloat16 instructions a CPU multiplies at a ninth of the speed in it.
        seed: of what adapters begin with.

    Raises:
        CheckpointError: no model there, one that cannot be read, or a folder in 8 bits.
        HardwareError: no such device, or no such dtype.
    """
    source = resolve(name)
    if source.is_dir() and stored_method(json_object(source / "config.json")):
        raise CheckpointError(f"{source} is quantised: train the model that it was made from")
    checkpoint = open_checkpoint(source)
    place = resolve_device(device)
    numbers = resolve_dtype(describe(str(place)).dtype if dtype == "auto" else dtype)
    weights = load_weights(checkpoint, checkpoint.config, place, numbers, "dense")
    rope = Rope.of(checkpoint.config, place, checkpoint.rope_divisors)
    return Network(weights, checkpoint.config, rope, lora=lora, seed=seed), checkpoint, source
