"""The shape of one Llama model, read from a Hugging Face config or from GGUF metadata."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from model.errors import CheckpointError


@dataclass(frozen=True)
class RopeScaling:
    """Llama-3.1's stretching of the rotary frequencies (see `model.llama.rope`).

    Attributes:
        factor: by how much the slow frequencies are divided.
        low_freq_factor: wavelengths above `original_context / low_freq_factor` are fully stretched.
        high_freq_factor: wavelengths below `original_context / high_freq_factor` are left alone.
        original_context: context length, in tokens, of the training before the stretching.
    """

    factor: float
    low_freq_factor: float
    high_freq_factor: float
    original_context: int


@dataclass(frozen=True)
class LlamaConfig:
    """Sizes and constants of one model; everything `Transformer` needs to be built.

    Attributes:
        context_length: the largest number of positions the model was made for.
        tied: whether the output head is the embedding matrix.
    """

    vocab_size: int
    hidden_size: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    ffn_size: int
    norm_eps: float
    rope_theta: float
    rope_scaling: RopeScaling | None
    context_length: int
    tied: bool

    def __post_init__(self) -> None:
        if self.heads % self.kv_heads:
            raise CheckpointError(f"{self.heads} query heads cannot share {self.kv_heads} key heads evenly")
        if self.head_dim % 2:
            raise CheckpointError(f"head_dim is {self.head_dim}; rotary positions need an even size")

    @classmethod
    def from_hf(cls, config: Mapping[str, Any]) -> LlamaConfig:
        """Read a `config.json`.

        Raises:
            CheckpointError: not a Llama model, a key is missing, or a variant that is not implemented.
        """
        kind = config.get("model_type")
        if kind != "llama":
            raise CheckpointError(f"model_type is {kind!r}; this engine reads 'llama' (Llama 3)")
        if config.get("attention_bias") or config.get("mlp_bias"):
            raise CheckpointError("the model has biases in its linear layers; Llama 3 has none")
        if config.get("hidden_act", "silu") != "silu":
            raise CheckpointError(f"hidden_act is {config['hidden_act']!r}; Llama 3 uses 'silu'")
        try:
            heads = int(config["num_attention_heads"])
            hidden = int(config["hidden_size"])
            # transformers 5 writes rope_parameters (theta inside); earlier ones rope_theta and rope_scaling.
            rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
            theta = rope.get("rope_theta", config.get("rope_theta", 10_000.0))
            return cls(
                vocab_size=int(config["vocab_size"]),
                hidden_size=hidden,
                layers=int(config["num_hidden_layers"]),
                heads=heads,
                kv_heads=int(config.get("num_key_value_heads") or heads),
                head_dim=int(config.get("head_dim") or hidden // heads),
                ffn_size=int(config["intermediate_size"]),
                norm_eps=float(config.get("rms_norm_eps", 1e-6)),
                rope_theta=float(theta),
                rope_scaling=_scaling_from_hf(rope),
                context_length=int(config.get("max_position_embeddings", 2048)),
                tied=bool(config.get("tie_word_embeddings", False)),
            )
        except KeyError as missing:
            raise CheckpointError(f"config.json lacks {missing}") from missing

    @classmethod
    def from_meta(
        cls,
        params: Mapping[str, Any],
        *,
        vocab_size: int,
        q_rows: int,
        kv_rows: int,
        ffn_rows: int,
        tied: bool,
    ) -> LlamaConfig:
        """Read a `params.json`; the sizes of the tensors come with it, all shards together.

        Raises:
            CheckpointError: a key is missing, or the tensors are not what the parameters ask for.
        """
        try:
            hidden, heads = int(params["dim"]), int(params["n_heads"])
            head_dim = hidden // heads
            wanted = _meta_ffn(hidden, params)
            if (q_rows, ffn_rows) != (heads * head_dim, wanted):
                raise CheckpointError(
                    f"the shards hold {q_rows} query rows and {ffn_rows} feed-forward rows; params.json asks "
                    f"for {heads * head_dim} and {wanted}: is a shard missing?"
                )
            config = cls(
                vocab_size=vocab_size,
                hidden_size=hidden,
                layers=int(params["n_layers"]),
                heads=heads,
                kv_heads=int(params.get("n_kv_heads") or heads),
                head_dim=head_dim,
                ffn_size=ffn_rows,
                norm_eps=float(params["norm_eps"]),
                rope_theta=float(params.get("rope_theta", 10_000.0)),
                rope_scaling=_scaling_from_meta(params) if params.get("use_scaled_rope") else None,
                # params.json names none: Llama 3.1's where the frequencies are stretched, else Llama 3's.
                context_length=131_072 if params.get("use_scaled_rope") else 8_192,
                tied=tied,
            )
        except KeyError as missing:
            raise CheckpointError(f"params.json lacks {missing}") from missing
        return config.with_kv_rows(kv_rows)

    @classmethod
    def from_gguf(cls, metadata: Mapping[str, Any], *, vocab_size: int, tied: bool) -> LlamaConfig:
        """Read GGUF metadata; `vocab_size` and `tied` come from the tensors, which are the truth.

        Llama-3.1's frequency stretching is no metadata there: it comes as a tensor of divisors.

        Raises:
            CheckpointError: another architecture, a key is missing, or a scaling that is not implemented.
        """
        kind = metadata.get("general.architecture")
        if kind != "llama":
            raise CheckpointError(f"general.architecture is {kind!r}; this engine reads 'llama'")
        scaling = metadata.get("llama.rope.scaling.type", "none")
        if scaling != "none":
            raise CheckpointError(f"llama.rope.scaling.type is {scaling!r}; only 'none' is read")
        if metadata.get("llama.expert_count", 0):
            raise CheckpointError(f"{metadata['llama.expert_count']} experts: a mixture is no Llama 3")
        try:
            heads = int(metadata["llama.attention.head_count"])
            hidden = int(metadata["llama.embedding_length"])
            return cls(
                vocab_size=vocab_size,
                hidden_size=hidden,
                layers=int(metadata["llama.block_count"]),
                heads=heads,
                kv_heads=int(metadata.get("llama.attention.head_count_kv", heads)),
                head_dim=int(metadata.get("llama.attention.key_length", hidden // heads)),
                ffn_size=int(metadata["llama.feed_forward_length"]),
                norm_eps=float(metadata["llama.attention.layer_norm_rms_epsilon"]),
                rope_theta=float(metadata.get("llama.rope.freq_base", 10_000.0)),
                rope_scaling=None,
                context_length=int(metadata["llama.context_length"]),
                tied=tied,
            )
        except KeyError as missing:
            raise CheckpointError(f"the GGUF metadata lacks {missing}") from missing

    def with_kv_rows(self, rows: int) -> LlamaConfig:
        """The same with the key heads that the tensors hold.

        Early files of the 405B model repeat each of its 8 key heads, so that each of 16 ranks has one; the
        configuration beside them may say 8. A number of rows that no repetition explains is left to `fill`.
        """
        found, over = divmod(rows, self.head_dim)
        repeated = found and not over and found % self.kv_heads == 0 and self.heads % found == 0
        return replace(self, kv_heads=found) if repeated else self


def _meta_ffn(hidden: int, params: Mapping[str, Any]) -> int:
    """Rows of w1: 8/3 of the hidden size, times `ffn_dim_multiplier`, rounded up to `multiple_of`.

    Source: `FeedForward` in Meta's llama-models reference implementation.
    """
    size = int(2 * (4 * hidden) / 3)
    if params.get("ffn_dim_multiplier") is not None:
        size = int(params["ffn_dim_multiplier"] * size)
    multiple = int(params.get("multiple_of", 256))
    return -(-size // multiple) * multiple


_LLAMA_32_SMALL = {(2048, 16), (3072, 28)}
"""Hidden size and layers of Llama 3.2 1B and 3B."""


def _scaling_from_meta(params: Mapping[str, Any]) -> RopeScaling:
    # Published files say `use_scaled_rope` and no factor. It is 8, but 32 for Llama 3.2 1B and 3B, where 8
    # spoils everything beyond 80,000 tokens (llama-models issue 241).
    small = (int(params["dim"]), int(params["n_layers"])) in _LLAMA_32_SMALL
    return RopeScaling(
        factor=float(params.get("rope_scaling_factor") or (32.0 if small else 8.0)),
        low_freq_factor=1.0,
        high_freq_factor=float(params.get("rope_high_freq_factor") or 4.0),
        original_context=8_192,
    )


def _scaling_from_hf(rope: Mapping[str, Any]) -> RopeScaling | None:
    kind = rope.get("rope_type", rope.get("type", "default"))
    if kind == "default":
        return None
    if kind != "llama3":
        raise CheckpointError(f"rope scaling {kind!r} is not implemented; 'default' and 'llama3' are")
    return RopeScaling(
        factor=float(rope["factor"]),
        low_freq_factor=float(rope["low_freq_factor"]),
        high_freq_factor=float(rope["high_freq_factor"]),
        original_context=int(rope["original_max_position_embeddings"]),
    )
