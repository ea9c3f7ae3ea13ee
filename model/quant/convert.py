"""Writes a checkpoint in 8 bits: a Hugging Face folder of safetensors, tensor by tensor, file by file."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from model.errors import CheckpointError
from model.llama.config import LlamaConfig
from model.llama.transformer import Transformer
from model.quant.fp8 import ACTIVATION_BOUND, quantize_rows
from model.quant.hf_folder import hf_config, write_json, write_tokenizer
from model.quant.partial import PartialFolder, identity
from model.quant.stored import FP8, INT8, stored_method
from model.weights.checkpoint import open_checkpoint
from model.weights.files import json_object
from model.weights.mapping import Placement, Sources, hf_placements

Format = Literal["fp8", "int8"]
_REVISION = 1
"""Goes up when the same source would be written otherwise: files of an older one are not gone on from."""
SHARD_BYTES = 2 << 30
"""Most bytes of a weight file, and so of what is held in memory beside the tensor at hand."""

_ATTENTION = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj")
_FFN = ("mlp.gate_proj", "mlp.up_proj", "mlp.down_proj")


@dataclass(frozen=True)
class Converted:
    """What was written.

    Attributes:
        matrices: how many are in 8 bits.
        tensors: how many there are without scales.
        weight_bytes: size of the weight files.
        kept_bytes: how much of it an interrupted run had left.
    """

    target: Path
    matrices: int
    tensors: int
    weight_bytes: int
    kept_bytes: int = 0


def quantize(
    source: Path,
    target: Path,
    kind: Format = "fp8",
    *,
    shard_bytes: int = SHARD_BYTES,
    on_progress: Callable[[int, int], None] | None = None,
) -> Converted:
    """Convert a checkpoint of any layout; `target` is there whole in the end, or not at all.

    What a run that was ended from outside had finished, the next one of the same source, target and settings
    does not do again; the result is the same to the byte. Until then it is in `.TARGET.partial` beside the
    target, one weight file after another.

    `fp8` is what Llama-3.1-405B-FP8 is: gate, up and down of all layers but the first and the last in e4m3
    with a scale a row. `int8` is every matrix of every layer, value = integer · scale of its row, the scale
    being the row's largest magnitude / 127. All else is bfloat16.

    Args:
        source: a safetensors folder, a folder in Meta's layout, or a .gguf file.
        target: a folder that does not exist yet.
        on_progress: called with tensors done, those of an earlier run included, and tensors in all.

    Raises:
        CheckpointError: the source cannot be read or is in 8 bits already, its weights are no finite numbers,
            the target exists or is being written by another process, or there is no room for it.
        OSError: the target cannot be written.
    """
    if target.exists() or target.is_symlink():
        raise CheckpointError(f"{target} exists; name a folder that does not")
    if source.is_dir() and stored_method(json_object(source / "config.json")):
        raise CheckpointError(f"{source} is quantised already; take the model that it was made from")
    checkpoint = open_checkpoint(source)
    config = checkpoint.config
    shards = list(_shards(config, kind, shard_bytes))
    settings = hf_config(checkpoint, source)
    settings["quantization_config"] = _quantization_config(config, kind)
    settings["dtype" if "dtype" in settings else "torch_dtype"] = "bfloat16"

    rounding = (_REVISION, torch.__version__)
    partial = PartialFolder(target, identity(source, checkpoint.fingerprint(), kind, shard_bytes, rounding))
    size = sum(item.bytes for shard in shards for item in shard) - partial.kept
    if (free := shutil.disk_usage(partial.path).free) < size:
        partial.leave()
        raise CheckpointError(f"{target} needs {size:,} bytes of disk; {free:,} are free")
    try:
        written = _write_weights(partial, shards, checkpoint.sources(), kind, on_progress)
        write_tokenizer(checkpoint, source, partial.files)
        write_json(partial.files / "config.json", settings)
        kept = partial.kept
        partial.publish()
    except CheckpointError:  # the same again the next time
        partial.discard()
        raise
    except SafetensorError as error:
        partial.leave()
        raise OSError(f"cannot write {target}: {error}") from error
    except BaseException:
        partial.leave()
        raise
    items = [item for shard in shards for item in shard]
    return Converted(target, sum(item.scaled for item in items), len(items), written, kept)


@dataclass(frozen=True)
class _Item:
    """A tensor to write; `scaled` ones in 8 bits with a float32 scale a row, others in bfloat16."""

    name: str
    place: Placement
    scaled: bool
    bytes: int

    @property
    def names(self) -> tuple[str, ...]:
        return (self.name, f"{self.name}_scale") if self.scaled else (self.name,)


def _shards(config: LlamaConfig, kind: Format, limit: int) -> Iterator[list[_Item]]:
    """All tensors in the order of the layers, cut where the next would not fit any more."""
    with torch.device("meta"):
        parameters = dict(Transformer(config).named_parameters())
    scaled = {f"{module}.weight" for module in _modules(config, kind)}
    shard: list[_Item] = []
    for name, place in hf_placements(config).items():
        count = place.rows * parameters[place.parameter].shape[1:].numel()
        size = count + 4 * place.rows if name in scaled else 2 * count
        if shard and sum(item.bytes for item in shard) + size > limit:
            yield shard
            shard = []
        shard.append(_Item(name, place, name in scaled, size))
    yield shard


def _modules(config: LlamaConfig, kind: Format) -> list[str]:
    """Names of the modules that are converted."""
    whole = kind == "int8"
    layers = range(config.layers) if whole else range(1, config.layers - 1)
    return [
        f"model.layers.{layer}.{part}" for layer in layers for part in (_ATTENTION if whole else ()) + _FFN
    ]


def _quantization_config(config: LlamaConfig, kind: Format) -> dict[str, Any]:
    converted = set(_modules(config, kind))
    every = [f"model.layers.{n}.{part}" for n in range(config.layers) for part in _ATTENTION + _FFN]
    skipped = ["lm_head", *(module for module in every if module not in converted)]
    if kind == "int8":
        return {"quant_method": INT8, "modules_to_not_convert": skipped}
    return {
        "quant_method": FP8,
        "activation_scale_ub": ACTIVATION_BOUND,
        "modules_to_not_convert": skipped,
    }


def _write_weights(
    partial: PartialFolder,
    shards: list[list[_Item]],
    sources: Sources,
    kind: Format,
    on_progress: Callable[[int, int], None] | None,
) -> int:
    """Write the files that are not finished, and the index of all; gives the bytes of the files."""
    done, total = 0, sum(map(len, shards))
    places = {(place.parameter, place.first): name for name, place in sources[0].items()}
    index: dict[str, str] = {}
    written = 0
    for number, shard in enumerate(shards, 1):
        file = (
            f"model-{number:05}-of-{len(shards):05}.safetensors" if len(shards) > 1 else "model.safetensors"
        )
        if partial.has(file):
            done += len(shard)
            if on_progress:
                on_progress(done, total)
        else:
            tensors: dict[str, Tensor] = {}
            for item in shard:
                name = places[item.place.parameter, item.place.first]
                tensor = _in_hf_order(_read(sources, name), sources[0][name], item.place)
                tensors.update(_encode(item, tensor, kind))
                done += 1
                if on_progress:
                    on_progress(done, total)
            save_file(tensors, partial.files / file, metadata={"format": "pt"})
            partial.finish(file)
        index.update((name, file) for item in shard for name in item.names)
        written += (partial.files / file).stat().st_size
    if len(shards) > 1:
        listing: Mapping[str, object] = {"metadata": {"total_size": written}, "weight_map": index}
        write_json(partial.files / "model.safetensors.index.json", listing)
    return written


def _read(sources: Sources, name: str) -> Tensor:
    placements, read = sources
    try:
        tensor = read(name)
    except KeyError as missing:
        raise CheckpointError(f"the checkpoint lacks the tensor {name}") from missing
    if tensor.shape[0] != placements[name].rows:
        raise CheckpointError(
            f"tensor {name} has {tensor.shape[0]} rows; the configuration asks for {placements[name].rows}"
        )
    return tensor


def _in_hf_order(tensor: Tensor, found: Placement, wanted: Placement) -> Tensor:
    """Rows of each head as Hugging Face has them, real parts first, where the source interleaves them."""
    if not wanted.weave or found.weave == wanted.weave:
        return tensor
    pairs = tensor.reshape(wanted.weave, -1, 2, tensor.shape[1])
    return pairs.transpose(1, 2).reshape(tensor.shape)


def _encode(item: _Item, tensor: Tensor, kind: Format) -> dict[str, Tensor]:
    if not tensor.isfinite().all():
        raise CheckpointError(f"tensor {item.name} holds values that are not finite numbers")
    if not item.scaled:
        return {item.name: tensor.to(torch.bfloat16).contiguous()}
    if kind == "fp8":
        rows, scale = quantize_rows(tensor)
    else:
        largest = tensor.abs().amax(dim=1, keepdim=True).float()
        scale = (largest / 127.0).clamp(min=torch.finfo(torch.float32).tiny)
        rows = (tensor / scale).round().to(torch.int8)
    return {item.name: rows, f"{item.name}_scale": scale}
