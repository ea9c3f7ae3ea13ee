"""Writes the tiny models in Meta's own layout, and ranks files as tiktoken reads them."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import torch
from checkpoints import tiny_tokenizer
from tokenizers import pre_tokenizers
from torch import Tensor
from transformers import LlamaForCausalLM

NAMES = {
    "model.embed_tokens": "tok_embeddings", "model.norm": "norm", "lm_head": "output",
    "model.layers": "layers", "input_layernorm": "attention_norm", "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attention.wq", "self_attn.k_proj": "attention.wk",
    "self_attn.v_proj": "attention.wv", "self_attn.o_proj": "attention.wo",
    "mlp.gate_proj": "feed_forward.w1", "mlp.up_proj": "feed_forward.w3", "mlp.down_proj": "feed_forward.w2",
}  # fmt: skip
# ceil(1.1 · int(8/3 · 128) / 32) · 32 = 384
SHAPE = {
    "vocab_size": 768,  # fewer than 512 tokens, 256 control tokens, rows of padding
    "hidden_size": 128,
    "num_attention_heads": 16,
    "num_key_value_heads": 8,
    "intermediate_size": 384,
}
PARAMS = {"multiple_of": 32, "ffn_dim_multiplier": 1.1}


def write_meta(
    folder: Path, model: LlamaForCausalLM, shards: int = 1, *, repeat: int = 1, by_features: bool = False
) -> Path:
    """Save a model in Meta's layout.

    Args:
        repeat: how often each key head stands in the files, as in the early files of the 405B model.
        by_features: split the embedding by columns, as before Llama 3.
    """
    config = model.config
    folder.mkdir(parents=True, exist_ok=True)
    rope = config.rope_parameters
    params: dict[str, Any] = {
        "dim": config.hidden_size,
        "n_layers": config.num_hidden_layers,
        "n_heads": config.num_attention_heads,
        "n_kv_heads": config.num_key_value_heads,
        "vocab_size": config.vocab_size,
        "norm_eps": config.rms_norm_eps,
        "rope_theta": rope["rope_theta"],
        "use_scaled_rope": rope["rope_type"] == "llama3",
        **PARAMS,
    }
    (folder / "params.json").write_text(json.dumps(params))
    for rank in range(shards):
        state = {"rope.freqs": torch.zeros(config.head_dim // 2)}
        for name, tensor in model.state_dict().items():
            if not (name == "lm_head.weight" and config.tie_word_embeddings):
                whole = _as_meta(name, tensor, config, repeat)
                columns = "o_proj" in name or "down_proj" in name or ("embed" in name and by_features)
                pieces = whole.chunk(shards, dim=1 if columns else 0) if whole.ndim == 2 else [whole] * shards
                state[_name(name)] = pieces[rank].clone()
        torch.save(state, folder / f"consolidated.{rank:02}.pth")
    write_ranks(folder / "tokenizer.model", tiny_ranks())
    return folder


def _name(name: str) -> str:
    for old, new in NAMES.items():
        name = name.replace(old, new)
    return name


def _as_meta(name: str, tensor: Tensor, config: Any, repeat: int) -> Tensor:
    """Rows of q and k interleaved inside each head; key and value heads repeated."""
    dim = config.head_dim
    if "q_proj" in name or "k_proj" in name:
        heads = tensor.view(-1, dim, tensor.shape[1])
        tensor = torch.stack([heads[:, : dim // 2], heads[:, dim // 2 :]], dim=2).reshape(tensor.shape)
    if "k_proj" in name or "v_proj" in name:
        tensor = tensor.view(-1, dim, tensor.shape[1]).repeat_interleave(repeat, 0).flatten(0, 1)
    return tensor


def tiny_ranks() -> dict[bytes, int]:
    """Ranks of the tiny tokenizer's tokens, which were learned in this order."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    # GPT-2's alphabet: a printable byte is its own letter, the others follow from U+0100 on.
    printable = [letter for letter in letters if ord(letter) < 0x100]
    others = sorted(set(range(256)) - {ord(letter) for letter in printable})
    table = {letter: ord(letter) for letter in printable}
    table |= dict(zip(letters[len(printable) :], others, strict=True))
    vocabulary = json.loads(tiny_tokenizer().to_str())["model"]["vocab"]
    words = sorted(vocabulary, key=vocabulary.get)
    return {bytes(table[letter] for letter in word): rank for rank, word in enumerate(words)}


def write_ranks(path: Path, ranks: dict[bytes, int]) -> None:
    """One line for each token: base64, a space, its rank."""
    lines = [f"{base64.b64encode(token).decode()} {rank}" for token, rank in ranks.items()]
    path.write_text("\n".join(lines) + "\n")
