"""Rotary tables to the last position of Llama 3.1, beside transformers' own."""

from __future__ import annotations

import pytest
import torch
from checkpoints import tiny_model
from torch import Tensor, nn
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

from model.llama.config import LlamaConfig
from model.llama.rope import GRAIN, Rope, base_frequencies, rotate, stretch

WINDOW = 131_072
SHAPES = {
    "llama 3.1": {"rope_parameters": {
        "rope_type": "llama3", "rope_theta": 500_000.0, "factor": 8.0, "low_freq_factor": 1.0,
        "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}},
    "llama 3.2": {"rope_parameters": {
        "rope_type": "llama3", "rope_theta": 500_000.0, "factor": 32.0, "low_freq_factor": 1.0,
        "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}},
    "llama 3": {"rope_parameters": {"rope_type": "default", "rope_theta": 500_000.0}},
    "smollm2": {"rope_parameters": {"rope_type": "default", "rope_theta": 100_000.0}},
}  # fmt: skip


def ulps(ours: Tensor, theirs: Tensor) -> int:
    """The largest distance in units of the last place of float32, over all pairs."""

    def ordered(x: Tensor) -> Tensor:
        bits = x.contiguous().view(torch.int32).long()
        return torch.where(bits < 0, -(bits & 0x7FFF_FFFF), bits)

    return int((ordered(ours) - ordered(theirs)).abs().max())


@pytest.mark.parametrize("head_dim", [64, 128])
@pytest.mark.parametrize("shape", SHAPES)
def test_every_position_is_transformers_to_the_bit(shape: str, head_dim: int) -> None:
    config = tiny_model(hidden_size=4 * head_dim, head_dim=head_dim, **SHAPES[shape]).config
    theirs = LlamaRotaryEmbedding(config)
    rope = Rope.of(LlamaConfig.from_hf(config.to_dict()), torch.device("cpu"))
    half = head_dim // 2
    for begin in range(0, WINDOW, 16_384):
        positions = torch.arange(begin, begin + 16_384)
        cos, sin = theirs(torch.zeros(1), positions[None])
        table = rope.table(positions.tolist())[:, 0]
        assert ulps(table.real, cos[0, :, :half]) == 0
        assert ulps(table.imag, sin[0, :, :half]) == 0


def test_the_last_digit_is_seen() -> None:
    x = torch.tensor([1.0, -0.5, 1e-20])
    assert ulps(x, x) == 0
    assert ulps(x, torch.nextafter(x, torch.ones(3) * 9)) == 1
    assert ulps(torch.tensor([0.0]), torch.tensor([-0.0])) == 0


def test_an_entry_does_not_depend_on_how_the_table_grew() -> None:
    frequencies = base_frequencies(64, 5e5)
    at_once, slowly = (Rope(frequencies, torch.device("cpu")) for _ in range(2))
    positions = torch.arange(3 * GRAIN + 7)
    whole = at_once.table(positions.tolist())
    for end in (1, 5, GRAIN, GRAIN + 1, 2 * GRAIN + 3):
        assert torch.equal(slowly.table(positions[:end].tolist()), whole[:end])
    assert torch.equal(slowly.table(positions.flip(0).tolist()), whole.flip(0))
    picked = torch.tensor([9000, 3, 3])
    assert torch.equal(slowly.table(picked.tolist()), whole[picked])


def test_lookups_are_not_computed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    rope = Rope(base_frequencies(64, 5e5), torch.device("cpu"))
    rope.reserve(10_000)
    monkeypatch.setattr(Tensor, "cos", lambda _: pytest.fail("a cosine was computed"))
    assert rope.table([9_999]).shape == (1, 1, 32)


def test_casting_modules_does_not_reach_the_table() -> None:
    class Holder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rope = Rope(base_frequencies(64, 5e5), torch.device("cpu"))

    holder = Holder()
    before = holder.rope.table([WINDOW - 1])
    after = holder.to(torch.bfloat16).half().rope.table([WINDOW - 1])
    assert after.dtype == torch.complex64
    assert torch.equal(before, after)


def test_stretching_keeps_short_waves_and_divides_long_ones() -> None:
    config = LlamaConfig.from_hf(tiny_model(head_dim=128, **SHAPES["llama 3.1"]).config.to_dict())
    assert config.rope_scaling is not None
    plain = base_frequencies(128, 500_000.0)
    waves, stretched = 2 * torch.pi / plain, stretch(plain, config.rope_scaling)
    assert torch.equal(stretched[waves < 2048], plain[waves < 2048])
    assert torch.equal(stretched[waves > 8192], plain[waves > 8192] / 8)
    between = (waves > 2048) & (waves < 8192)
    assert int(between.sum()) > 0
    assert bool(((stretched < plain) & (stretched > plain / 8))[between].all())


def test_rotation_keeps_lengths_and_turns_by_the_difference_of_positions() -> None:
    rope = Rope(base_frequencies(64, 5e5), torch.device("cpu"))
    torch.manual_seed(0)
    q, k = torch.randn(1, 1, 64), torch.randn(1, 1, 64)

    def score(at: int, seen: int) -> float:
        turned = (rotate(x, rope.table([p])) for x, p in ((q, at), (k, seen)))
        return float(torch.mul(*turned).sum())

    assert score(1000, 990) == pytest.approx(score(131_000, 130_990), abs=0.05)
    turned = rotate(q, rope.table([131_071]))
    torch.testing.assert_close(turned.norm(), q.norm())
