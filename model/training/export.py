"""A trained network as a folder in the Hugging Face layout."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from model.quant.hf_folder import hf_config, write_json, write_tokenizer
from model.training.network import Network
from model.weights.checkpoint import Checkpoint
from model.weights.mapping import hf_placements


def write_folder(network: Network, checkpoint: Checkpoint, source: Path, target: Path, name: str) -> None:
    """Write weights, adapters merged into them, in bfloat16, with configuration and tokenizer.

    Args:
        checkpoint: what the network began as, read from `source`.
        target: a folder that is there.
        name: of the model, for people.

    Raises:
        CheckpointError: a rotary scaling that `config.json` cannot say.
        OSError: the target cannot be written.
    """
    parameters: dict[str, Tensor] = {each: p.detach() for each, p in network.weights.named_parameters()}
    for key, adapter in network.adapters.items():
        matrix = f"blocks.{key.replace('/', '.')}.weight"
        parameters[matrix] = parameters[matrix].float() + adapter.product()  # type: ignore[operator]
    tensors: dict[str, Tensor] = {}
    for tensor, place in hf_placements(checkpoint.config).items():
        rows = parameters[place.parameter].narrow(0, place.first, place.rows)
        if place.weave:
            rows = rows.reshape(place.weave, -1, 2, rows.shape[1]).transpose(1, 2).reshape(rows.shape)
        tensors[tensor] = rows.to(torch.bfloat16).cpu().contiguous().clone()
    settings = hf_config(checkpoint, source)
    settings.pop("quantization_config", None)
    settings["dtype" if "dtype" in settings else "torch_dtype"] = "bfloat16"
    settings["_name_or_path"] = name
    save_file(tensors, target / "model.safetensors", metadata={"format": "pt"})
    write_tokenizer(checkpoint, source, target)
    write_json(target / "config.json", settings)
