"""A model in memory with everything that belongs to it: where it computes, its tokenizer, its names."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from model.executor import Executor
from model.hardware import describe, resolve_device, resolve_dtype
from model.llama.config import LlamaConfig
from model.loading import load_executor
from model.options import EngineOptions
from model.parallel.crew import StartCrew
from model.parallel.executor import load_parallel
from model.text.chat import ChatFormat, recognise
from model.text.tokenizer import Tokenizer
from model.weights.checkpoint import open_checkpoint
from model.weights.hub import resolve

_WEIGHTS = {"auto": "packed", "int8": "int8"}
"""How weights are held for the names of dtypes that are none."""


@dataclass(frozen=True)
class LoadedModel:
    """What an engine serves.

    Attributes:
        executor: computes passes and owns the KV pool.
        config: sizes of the model.
        tokenizer: text to ids and back.
        chat_format: renders dialogues; None where the checkpoint's template is missing or unknown.
        name: the checkpoint's own name.
        fingerprint: 64 hex digits that name weights and tokenizer, wherever the files lie.
        parameter_count: weights, a tied head counted once.
        weights: how they are held: "dense", "packed" as in the file, or "int8".
    """

    executor: Executor
    config: LlamaConfig
    tokenizer: Tokenizer
    chat_format: ChatFormat | None
    name: str
    fingerprint: str
    parameter_count: int
    weights: str = "dense"


def load_model(
    path: str | Path,
    device: str,
    dtype: str,
    options: EngineOptions,
    *,
    cache_path: Path | None = None,
    start: StartCrew | None = None,
) -> LoadedModel:
    """Find a model and load it; arguments and errors are those of `Engine.load`."""
    target = resolve_device(device, here=start is None)
    if start is not None and dtype == "auto" and target.type == "cuda":
        dtype = "bfloat16"  # what GPUs do best that are worth being many
    kind = resolve_dtype(describe(device, cache_path).dtype if dtype in _WEIGHTS else dtype)
    found = resolve(path)
    checkpoint = open_checkpoint(found)
    tokenizer = checkpoint.tokenizer()
    weights = _WEIGHTS.get(dtype, "dense")
    executor: Executor
    if options.world > 1 or start is not None:
        config = checkpoint.config
        executor, parameters = load_parallel(found, config, target, kind, options, weights, start)
    else:
        executor, parameters = load_executor(checkpoint, target, kind, options, weights)
    return LoadedModel(
        executor,
        checkpoint.config,
        tokenizer,
        chat_format=recognise(tokenizer, checkpoint.chat_template),
        name=checkpoint.name,
        fingerprint=checkpoint.fingerprint(),
        parameter_count=parameters,
        weights=weights,
    )
