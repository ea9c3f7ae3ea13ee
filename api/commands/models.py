"""`longleaf models`: what is there without a download, how to get more, and what it would need."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import typer

from api.inventory import local_models
from api.terminal import FAILURE, USAGE, fail, human_bytes, progress, say, say_heading, say_json
from model.llama.config import LlamaConfig
from model.llama.presets import PRESETS, preset
from model.plan import Deployment, KVKind, Plan, WeightKind, plan
from model.quant.stored import FP8, stored_method
from model.weights.checkpoint import open_checkpoint
from model.weights.download import pull
from model.weights.files import json_object
from model.weights.hub import cache_folder, hub_parts, resolve
from rag.settings import Settings

_UNITS = {"": 10**9, "gb": 10**9, "gib": 1 << 30}


def run(settings: Settings, *, as_json: bool) -> None:
    """Print the models found, the chosen ones marked."""
    found = local_models(settings)
    if as_json:
        say_json({"models": [model.as_dict() for model in found]})
        return
    for model in found:
        mark = "* " if model.chosen else "  "
        say_heading(f"{mark}{model.name}", f"  {model.role}, {human_bytes(model.bytes)}, {model.source}")
        say(f"    {model.path}")
    say()
    say("* in use. LONGLEAF_MODEL and LONGLEAF_EMBEDDER choose others, by folder or by hub id.")


def run_pull(name: str, *, as_json: bool) -> None:
    """Fetch a model into the hub cache. Raises CheckpointError; ends with 2 for what is no hub id."""
    parts = hub_parts(name)
    if parts is None:
        fail(f"{name!r} is no hub id; give owner/model or owner/model@revision", USAGE)
    with progress(name, of_bytes=True) as show:
        path = pull(*parts, cache_folder(), lambda step: show(step.done, step.total))
    if as_json:
        say_json({"model": name, "path": str(path)})
    else:
        say(str(path))


def run_plan(
    name: str,
    *,
    gpus: int,
    stages: int,
    gpu_memory: str,
    context: int | None,
    sequences: int,
    dtype: str | None,
    kv: str,
    as_json: bool,
) -> None:
    """Print what a model needs; the exit code says whether it fits. Raises ModelError."""
    config, stored = _shape(name)
    for option, value, kinds in (("--dtype", dtype, get_args(WeightKind)), ("--kv", kv, get_args(KVKind))):
        if value is not None and value not in kinds:
            fail(f"{option} is {value!r}; allowed: {', '.join(kinds)}", USAGE)
    found = plan(
        config,
        Deployment(
            gpus,
            memory_of(gpu_memory),
            context or config.context_length,
            sequences,
            dtype or stored,  # type: ignore[arg-type]
            kv,  # type: ignore[arg-type]
            stages=stages,
        ),
    )  # fmt: skip
    if as_json:
        say_json({"model": name, **found.as_dict()})
    else:
        _show(name, found)
    if not found.fits:
        raise typer.Exit(FAILURE)


def memory_of(text: str) -> int:
    """Bytes of `80`, `80GB` (both 80·10⁹) or `80GiB`; ends with 2 for anything else."""
    number = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([a-z]*)", text.strip().lower())
    if number is None or number[2] not in _UNITS:
        fail(f"--gpu-memory is {text!r}; give gigabytes such as 80, 80GB or 80GiB", USAGE)
    return int(float(number[1]) * _UNITS[number[2]])


def _shape(name: str) -> tuple[LlamaConfig, WeightKind]:
    """Sizes of a preset or of a model on this machine, and how its weights are stored."""
    if (known := preset(name)) is not None:
        return known, "bf16"
    if re.match(r"(?i)llama[^/]*$", name) and not Path(name).exists():
        fail(f"{name!r} is not known; the shapes that are: {', '.join(PRESETS)}", USAGE)
    path = resolve(name)
    # int8 is expanded when it is loaded.
    return open_checkpoint(path).config, "fp8" if stored_method(
        json_object(path / "config.json")
    ) == FP8 else "bf16"


def _show(name: str, found: Plan) -> None:
    asked = found.deployment
    say_heading(
        name,
        f"  {found.parameters:,} parameters, weights in {asked.dtype}, keys and values in {asked.kv}, on "
        f"{'' if asked.stages == 1 else f'{asked.stages} stages of '}"
        f"{asked.gpus} GPU{'s' * (asked.gpus > 1)} of {human_bytes(asked.gpu_memory)}",
    )
    many = "" if asked.sequences == 1 else f", {asked.sequences} sequences"
    repeated = f", each key head on {found.replication} GPUs" if found.replication > 1 else ""
    token = f"{found.kv_token:,} B a token, {asked.context:,} tokens{many}{repeated}"
    rows = [
        ("weights", found.weights, ""),
        ("keys and values", found.kv, token),
        ("rotations", found.rotation, ""),
        ("activations", found.activations, f"of {asked.step_tokens:,} tokens at a time"),
        ("logits", found.logits, ""),
        ("reserve", found.reserve, "CUDA context, NCCL, workspaces, gaps"),
        ("needed", found.needed, "fits" if found.fits else "does not fit"),
    ]  # fmt: skip
    say("on each GPU:" if asked.stages == 1 else "on each GPU of the stage that needs most:")
    for label, size, remark in rows:
        say(f"  {label:16}{human_bytes(size):>10}  {remark}".rstrip())
    say(f"largest context of one sequence: {found.largest_context:,} tokens")
    say(f"sequences of {asked.context:,} tokens: {found.most_sequences}")
    if asked.stages > 1:
        for index, stage in enumerate(found.stages):
            first, last = stage.layers
            sizes = f"weights {human_bytes(stage.weights)}, needed {human_bytes(stage.needed)}"
            say(f"stage {index}: layers {first} to {last - 1}, {sizes}")
        say(
            f"a stage waits for others {found.idle_reading:.0%} of the time while a prompt is read, "
            f"{found.idle_writing:.0%} while answers are written"
        )
