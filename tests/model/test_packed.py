"""Models with packed weights against the same weights made dense."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import torch
from checkpoints import tiny_model, write_folder, write_gguf
from torch import nn

from model import Engine
from model.loading import load_executor
from model.native.matrix import Arena, pack, quantise
from model.options import EngineOptions
from model.quant.packed import PackedEmbedding, PackedLinear
from model.weights.checkpoint import open_checkpoint

PROMPT = [3, 141, 59, 26, 5, 35, 89, 79, 32, 38]
MANY = [(7 * i) % 500 for i in range(150)]


def hidden_rows(path: Path, weights: str, tokens: list[int]) -> tuple[torch.Tensor, nn.Module]:
    """Logits of all tokens in one pass, and the model."""
    from model.attention import Segment  # noqa: PLC0415

    options = EngineOptions(kv_tokens=512)
    executor, _ = load_executor(open_checkpoint(path), torch.device("cpu"), torch.float32, options, weights)
    hidden = executor.forward(tokens, [Segment(0, len(tokens), (0,))])
    return executor.head(hidden), executor._model


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
