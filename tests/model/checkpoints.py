"""Small checkpoints that the tests write themselves; transformers and gguf are the independent writers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM

LLAMA3_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
CONTROL = [
    "<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>",
    "<|eom_id|>", "<|eot_id|>", "<|python_tag|>",
]  # fmt: skip
CORPUS = [
    "The quick brown fox jumps over the lazy dog, and it's 12345 times that he's done it.",
    "Der schnelle braune Fuchs springt über den faulen Hund. नमस्ते दुनिया, आप कैसे हैं?",
    "สวัสดีชาวโลก 👩‍👩‍👧‍👦 \n\n user assistant system ipython tool",
] * 4
LLAMA3_TEMPLATE = "{{ '<|start_header_id|>' + message['role'] + '<|end_header_id|>' }} <|eot_id|>"
SCALED_ROPE = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
    "rope_theta": 500_000.0,
}


def tiny_model(**changes: Any) -> LlamaForCausalLM:
    """A random float32 Llama-3.1 in transformers: 2 layers, 4 heads that share 2 keys, 131,072 positions."""
    settings: dict[str, Any] = {
        "vocab_size": 512,
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 131_072,
        "rms_norm_eps": 1e-5,
        "rope_parameters": SCALED_ROPE,
        "tie_word_embeddings": False,
        "bos_token_id": None,
        "eos_token_id": None,
        "initializer_range": 0.2,
    }
    torch.manual_seed(0)
    return LlamaForCausalLM(LlamaConfig(**{**settings, **changes})).eval()


def tiny_tokenizer() -> Tokenizer:
    """A byte-level BPE with Llama 3's word splitting and control tokens, 512 ids at most."""
    tokenizer = Tokenizer(models.BPE(ignore_merges=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(LLAMA3_WORDS), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=500, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.add_special_tokens(CONTROL)
    return tokenizer


def write_folder(
    folder: Path, model: LlamaForCausalLM, *, shard: str = "50GB", template: bool = True
) -> Path:
    """Save a model with the tiny tokenizer in the Hugging Face layout."""
    model.save_pretrained(folder, max_shard_size=shard)
    tiny_tokenizer().save(str(folder / "tokenizer.json"))
    settings: dict[str, Any] = {
        "bos_token": "<|begin_of_text|>",
        "eos_token": "<|eot_id|>",
        "add_bos_token": True,
    }
    if template:
        settings["chat_template"] = LLAMA3_TEMPLATE
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder


def write_gguf(path: Path, model: LlamaForCausalLM, kind: str) -> dict[str, np.ndarray]:
    """Save a model as GGUF with all matrices of one type; gives the float32 values that the file stands for.

    q and k rows are permuted as llama.cpp's converter does it. Random bytes stand for the matrices in types
    that the gguf package can only decode, with the block scales set to small numbers.
    """
    config, rng = model.config, np.random.default_rng(0)
    quant = gguf.GGMLQuantizationType[kind]
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("tiny")
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    _add_tokenizer(writer)
    values: dict[str, np.ndarray] = {}
    for name, tensor in model.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        array, target = tensor.numpy(), gguf_name(name)
        if array.ndim == 1:
            writer.add_tensor(target, array)
            values[name] = array
            continue
        heads = {"attn_q": config.num_attention_heads, "attn_k": config.num_key_value_heads}
        count = next((heads[part] for part in heads if part in target), 0)
        if count:
            array = array.reshape(count, 2, -1, array.shape[1]).swapaxes(1, 2).reshape(array.shape)
        raw = _encode(array, quant, rng)
        writer.add_tensor(target, raw, raw_dtype=quant)
        decoded = gguf.dequantize(raw, quant).reshape(array.shape)
        if count:
            decoded = decoded.reshape(count, -1, 2, array.shape[1]).swapaxes(1, 2).reshape(array.shape)
        values[name] = decoded
    if config.rope_parameters["rope_type"] == "llama3":
        writer.add_tensor("rope_freqs.weight", rope_divisors(config))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return values


def rope_divisors(config: LlamaConfig) -> np.ndarray:
    """The divisors that llama.cpp's converter writes for Llama 3.1."""
    rope = config.rope_parameters
    dim = config.hidden_size // config.num_attention_heads
    frequencies = 1.0 / rope["rope_theta"] ** (np.arange(0, dim, 2) / dim)
    waves, original = 2 * np.pi / frequencies, rope["original_max_position_embeddings"]
    low, high, factor = rope["low_freq_factor"], rope["high_freq_factor"], rope["factor"]
    smooth = (original / waves - low) / (high - low)
    between = 1 / ((1 - smooth) / factor + smooth)
    return np.select([waves < original / high, waves > original / low], [1.0, factor], between).astype(
        np.float32
    )


def _encode(array: np.ndarray, quant: gguf.GGMLQuantizationType, rng: np.random.Generator) -> np.ndarray:
    try:
        return gguf.quantize(array, quant)
    except NotImplementedError:
        block, size = gguf.GGML_QUANT_SIZES[quant]
        raw = rng.integers(0, 256, (array.size // block, size), dtype=np.uint8)
        scale = rng.uniform(1e-4, 4e-4, (len(raw), 2)).astype(np.float16).view(np.uint8)
        if quant.name == "Q4_K":
            raw[:, 0:4] = scale
        else:
            raw[:, -2:] = scale[:, :2]
        return raw.reshape(array.shape[0], -1)


def gguf_name(name: str) -> str:
    """The GGUF name of a tensor of transformers' model."""
    parts = {
        "model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output",
        "model.layers": "blk", "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm",
        "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
        "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
        "mlp.down_proj": "ffn_down",
    }  # fmt: skip
    for old, new in parts.items():
        name = name.replace(old, new)
    return name


def _add_tokenizer(writer: gguf.GGUFWriter) -> None:
    spec = json.loads(tiny_tokenizer().to_str())
    tokens = sorted(
        {**spec["model"]["vocab"], **{t["content"]: t["id"] for t in spec["added_tokens"]}}.items(),
        key=lambda x: x[1],
    )
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("llama-bpe")
    writer.add_token_list([token for token, _ in tokens])
    writer.add_token_types([3 if token in CONTROL else 1 for token, _ in tokens])
    writer.add_token_merges([" ".join(merge) for merge in spec["model"]["merges"]])
    ids = dict(tokens)
    writer.add_bos_token_id(ids["<|begin_of_text|>"])
    writer.add_eos_token_id(ids["<|eot_id|>"])
    writer.add_chat_template(LLAMA3_TEMPLATE)
