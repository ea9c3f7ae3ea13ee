"""The published shapes against their published parameter counts."""

from __future__ import annotations

import pytest
import torch

from model.llama.presets import PRESETS, preset
from model.llama.transformer import Transformer

COUNTS = {
    "llama-3.1-8b": 8_030_261_248,
    "llama-3.1-70b": 70_553_706_496,
    "llama-3.1-405b": 405_853_388_800,
    "llama-3.2-1b": 1_235_814_400,
    "llama-3.2-3b": 3_212_749_824,
}


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_the_modules_have_the_published_number_of_parameters(name: str) -> None:
    with torch.device("meta"):
        model = Transformer(PRESETS[name])
    assert sum(parameter.numel() for parameter in model.parameters()) == COUNTS[name]


def test_a_preset_is_found_in_any_case() -> None:
    assert preset("Llama-3.1-8B") is PRESETS["llama-3.1-8b"]
    assert preset("llama-3.1-9b") is None


def test_every_head_is_stretched_as_published() -> None:
    for name, config in PRESETS.items():
        assert config.rope_scaling is not None
        assert config.rope_scaling.factor == (32.0 if "3.2" in name else 8.0)
        assert config.head_dim * config.heads == config.hidden_size
