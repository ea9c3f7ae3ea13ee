"""Models with packed weights against the same weights made dense."""

from __future__ import annotations

import threading
from itertools import accumulate
from pathlib import Path

import pytest
import torch
from checkpoints import tiny_model, write_folder, write_gguf
from torch import nn

from model import Engine
from model.loading import load_executor, load_weights
from model.native.matrix import Arena, pack, quantise
from model.options import EngineOptions
from model.quant.packed import PackedEmbedding, PackedLinear, _quantised
from model.weights.checkpoint import open_checkpoint

PROMPT = [3, 141, 59, 26, 5, 35, 89, 79, 32, 38]
MANY = [(7 * i) % 500 for i in range(150)]


def hidden_rows(path: Path, weights: str, tokens: list[int]) -> tuple[torch.Tensor, nn.Module]:
    """Logits of all tokens in one pass, and the model."""
    from model.attention import Segment  # noqa: PLC0415

    options = EngineOptions(kv_tokens=512)
    executor, _ = load_executor(open_checkpoint(path), torch.device("cpu"), torch.float32, options, weights)
    rows = range(len(tokens))
    return executor.logits(tokens, [Segment(0, len(tokens), (0,))], rows).values, executor._model


@pytest.mark.parametrize("kind", ["Q4_0", "Q4_1", "Q8_0", "Q4_K", "Q6_K"])
def test_packed_gguf_equals_the_dense_one(tmp_path: Path, kind: str) -> None:
    wide = {"hidden_size": 256, "intermediate_size": 512} if kind.endswith("_K") else {}
    write_gguf(tmp_path / "tiny.gguf", tiny_model(**wide), kind)
    for tokens in (PROMPT, MANY):
        wanted, _ = hidden_rows(tmp_path / "tiny.gguf", "dense", tokens)
        found, model = hidden_rows(tmp_path / "tiny.gguf", "packed", tokens)
        torch.testing.assert_close(found, wanted, rtol=0, atol=2e-5 * wanted.abs().max().item())
        kept = [module for module in model.modules() if isinstance(module, PackedLinear)]
        assert len(kept) == 2 * 4 + 2
        assert isinstance(model.embed, PackedEmbedding)


def test_a_dense_gguf_stays_dense(tmp_path: Path) -> None:
    write_gguf(tmp_path / "tiny.gguf", tiny_model(), "BF16")
    _, model = hidden_rows(tmp_path / "tiny.gguf", "packed", PROMPT)
    assert not any(isinstance(module, PackedLinear) for module in model.modules())


def test_eight_bits_of_any_model_stay_near_it(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, tiny_model())
    wanted, _ = hidden_rows(folder, "dense", PROMPT)
    found, model = hidden_rows(folder, "int8", PROMPT)
    assert isinstance(model.embed, PackedEmbedding)
    assert (found - wanted).abs().max() < 0.05 * wanted.abs().max()
    assert torch.nn.functional.cosine_similarity(found, wanted).min() > 0.995


def test_loading_in_eight_bits_holds_one_dense_matrix_at_a_time(tmp_path: Path) -> None:
    checkpoint = open_checkpoint(write_folder(tmp_path, tiny_model(num_hidden_layers=8)))

    def load(weights: str) -> tuple[nn.Module, int]:
        """The model, and the most that torch held; what is packed lies beside that."""
        with torch.profiler.profile(
            activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True
        ) as profile:
            model = load_weights(checkpoint, checkpoint.config, torch.device("cpu"), torch.float32, weights)
        events = [each for each in profile.profiler.kineto_results.events() if each.name() == "[memory]"]
        sizes = [each.nbytes() for each in sorted(events, key=lambda each: each.start_ns())]
        return model, max(accumulate(sizes))

    whole, most = load("dense")
    dense = [each.numel() * 4 for each in whole.parameters()]
    assert most >= sum(dense) > 10 * max(dense)
    packed, most = load("int8")
    # The matrix itself, its float32 copies for rounding, its codes twice.
    assert most < 5 * max(dense)
    for name, part in packed.named_modules():
        if isinstance(part, PackedLinear):
            wanted = pack(quantise(whole.get_parameter(f"{name}.weight").detach()))
            assert torch.equal(part.matrix.codes, wanted.codes)
            assert torch.equal(part.matrix.scales, wanted.scales)


def test_rows_are_quantised_alike_in_any_number(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    weight = torch.randn(37, 64)
    monkeypatch.setattr("model.quant.packed._SLAB", 300)
    found, wanted = _quantised(weight), quantise(weight)
    assert torch.equal(found.values, wanted.values)
    assert torch.equal(found.scales, wanted.scales)


def test_a_token_gets_the_same_bits_alone_and_among_others(tmp_path: Path) -> None:
    write_gguf(tmp_path / "tiny.gguf", tiny_model(), "Q4_1")
    together, _ = hidden_rows(tmp_path / "tiny.gguf", "packed", PROMPT)
    for end in (1, 4, 9):
        part, _ = hidden_rows(tmp_path / "tiny.gguf", "packed", PROMPT[:end])
        assert torch.equal(part, together[:end])


def test_the_engine_loads_packed_and_int8(tmp_path: Path) -> None:
    write_gguf(tmp_path / "tiny.gguf", tiny_model(), "Q4_1")
    counts = set()
    for dtype in ("auto", "int8", "float32"):
        with Engine.load(tmp_path / "tiny.gguf", device="cpu", dtype=dtype) as engine:
            assert engine.logits(PROMPT).shape == (len(PROMPT), 512)
            counts.add(engine.parameter_count)
    assert len(counts) == 1


def test_two_engines_at_once_do_not_share_an_unpacked_matrix() -> None:
    torch.manual_seed(0)
    layers = [PackedLinear(pack(quantise(torch.randn(512, 256)), Arena())) for _ in range(2)]
    x = torch.randn(64, 256)
    expected = [layer(x) for layer in layers]
    equal: list[bool] = []

    def run(index: int) -> None:
        equal.extend(torch.equal(layers[index](x), expected[index]) for _ in range(200))

    threads = [threading.Thread(target=run, args=(index,)) for index in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(equal) == 400
    assert all(equal)
