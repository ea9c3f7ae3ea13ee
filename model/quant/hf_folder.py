"""What a Hugging Face folder holds beside weights, written for a checkpoint of any layout."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from model.errors import CheckpointError
from model.llama.config import LlamaConfig, RopeScaling
from model.llama.rope import base_frequencies, stretch
from model.weights.checkpoint import Checkpoint
from model.weights.files import json_object

_COPIED = (
    "tokenizer*", "special_tokens_map.json", "generation_config.json", "chat_template*",
    "LICENSE*", "NOTICE*", "USE_POLICY*",
)  # fmt: skip
_LLAMA_3_1 = RopeScaling(factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_context=8192)


def hf_config(checkpoint: Checkpoint, source: Path) -> dict[str, Any]:
    """The model's `config.json`: its own, or one made from its sizes.

    Raises:
        CheckpointError: a rotary scaling that such a file cannot express.
    """
    own = json_object(source / "config.json") if source.is_dir() else {}
    if own:
        return own
    config = checkpoint.config
    if checkpoint.rope_divisors is not None:
        config = replace(config, rope_scaling=_scaling_of(config, checkpoint.rope_divisors))
    made: dict[str, Any] = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": config.vocab_size,
        "hidden_size": config.hidden_size,
        "intermediate_size": config.ffn_size,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "num_key_value_heads": config.kv_heads,
        "head_dim": config.head_dim,
        "max_position_embeddings": config.context_length,
        "rms_norm_eps": config.norm_eps,
        "rope_theta": config.rope_theta,
        "tie_word_embeddings": config.tied,
        "hidden_act": "silu",
        "attention_bias": False,
        "mlp_bias": False,
        "_name_or_path": checkpoint.name,
    }
    if config.rope_scaling is not None:
        made["rope_scaling"] = {
            "rope_type": "llama3",
            "factor": config.rope_scaling.factor,
            "low_freq_factor": config.rope_scaling.low_freq_factor,
            "high_freq_factor": config.rope_scaling.high_freq_factor,
            "original_max_position_embeddings": config.rope_scaling.original_context,
        }
    tokenizer = checkpoint.tokenizer()
    return made | {"bos_token_id": tokenizer.bos_id, "eos_token_id": sorted(tokenizer.stop_ids)}


def write_tokenizer(checkpoint: Checkpoint, source: Path, target: Path) -> None:
    """Copy tokenizer, chat template and licence of a Hugging Face folder, or write the tokenizer anew."""
    if source.is_dir() and (source / "tokenizer.json").is_file():
        for file in _beside_weights(source):
            shutil.copyfile(file, target / file.name)
        return
    tokenizer = checkpoint.tokenizer()
    (target / "tokenizer.json").write_text(tokenizer.to_json(), "utf-8")
    names = {index: name for name, index in tokenizer.control.items()}
    settings: dict[str, object] = {"add_bos_token": tokenizer.bos_id is not None}
    if tokenizer.bos_id is not None:
        settings["bos_token"] = names[tokenizer.bos_id]
    write_json(target / "tokenizer_config.json", settings)
    if checkpoint.chat_template is not None:
        (target / "chat_template.jinja").write_text(checkpoint.chat_template, "utf-8")


def write_json(path: Path, value: Mapping[str, object]) -> None:
    """Write an object as Hugging Face does, indented by two."""
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", "utf-8")


def _beside_weights(folder: Path) -> Iterator[Path]:
    for pattern in _COPIED:
        yield from (path for path in sorted(folder.glob(pattern)) if path.is_file())


def _scaling_of(config: LlamaConfig, divisors: torch.Tensor) -> RopeScaling:
    """The published parameters behind the divisors of a GGUF file: Llama 3.1's, or 3.2's with factor 32."""
    base = base_frequencies(config.head_dim, config.rope_theta)
    for factor in (8.0, 32.0):
        scaling = replace(_LLAMA_3_1, factor=factor)
        if torch.allclose(base / stretch(base, scaling), divisors.float(), rtol=1e-4):
            return scaling
    raise CheckpointError("the rotary divisors of the file are not Llama 3.1's; config.json cannot say them")
