"""The published shapes of Llama 3.1 and 3.2, so that a model can be planned for before it is there."""

from __future__ import annotations

from model.llama.config import LlamaConfig, RopeScaling

VOCABULARY = 128_256
"""128,000 byte-pair tokens and 256 control tokens."""
CONTEXT = 131_072
ORIGINAL_CONTEXT = 8_192
"""Tokens of context before the frequencies were stretched."""
THETA = 500_000.0


def llama3_scaling(factor: float) -> RopeScaling:
    """The stretching of Llama 3.1 (`factor` 8) and of Llama 3.2 1B and 3B (32)."""
    return RopeScaling(factor, low_freq_factor=1.0, high_freq_factor=4.0, original_context=ORIGINAL_CONTEXT)


def _llama(  # noqa: PLR0917 (a table of sizes)
    layers: int,
    hidden: int,
    heads: int,
    ffn: int,
    head_dim: int = 128,
    factor: float = 8.0,
    tied: bool = False,
) -> LlamaConfig:
    return LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=hidden,
        layers=layers,
        heads=heads,
        kv_heads=8,
        head_dim=head_dim,
        ffn_size=ffn,
        norm_eps=1e-5,
        rope_theta=THETA,
        rope_scaling=llama3_scaling(factor),
        context_length=CONTEXT,
        tied=tied,
    )


PRESETS = {
    "llama-3.1-8b": _llama(32, 4_096, 32, 14_336),
    "llama-3.1-70b": _llama(80, 8_192, 64, 28_672),
    "llama-3.1-405b": _llama(126, 16_384, 128, 53_248),
    "llama-3.2-1b": _llama(16, 2_048, 32, 8_192, head_dim=64, factor=32.0, tied=True),
    "llama-3.2-3b": _llama(28, 3_072, 24, 8_192, factor=32.0, tied=True),
}
"""By name. Sizes: table 3 of Grattafiori et al. 2024 and the `config.json` of the published models."""


def preset(name: str) -> LlamaConfig | None:
    """The shape of a model by name, in any case; None for a name that is not known."""
    return PRESETS.get(name.lower())
