"""The same logits as transformers."""

from __future__ import annotations

from pathlib import Path

import gguf
import pytest
import torch
from checkpoints import gguf_name, tiny_model, write_folder, write_gguf
from torch import Tensor
from transformers import LlamaConfig as LlamaPeerConfig
from transformers import LlamaForCausalLM

from model import CheckpointError, Engine
from model.llama.config import LlamaConfig
from model.llama.transformer import Transformer
from model.weights.hub import bundled as bundled_file

TOLERANCE = 1e-4


def distance(ours: Tensor, theirs: Tensor) -> float:
    """Largest difference, relative to the largest logit."""
    return float((ours - theirs).abs().max() / theirs.abs().max())


def bundled_peer() -> LlamaForCausalLM:
    """The bundled file in transformers, decoded by the gguf package.

    (transformers' own GGUF loader gives the same weights and takes half a minute.)
    """
    config = LlamaPeerConfig(
        vocab_size=49_152, hidden_size=576, intermediate_size=1536, num_hidden_layers=30,
        num_attention_heads=9, num_key_value_heads=3, max_position_embeddings=8192, rms_norm_eps=1e-5,
        rope_parameters={"rope_type": "default", "rope_theta": 100_000.0}, tie_word_embeddings=True,
    )  # fmt: skip
    peer = LlamaForCausalLM(config).eval()
    names = {gguf_name(name): name for name in peer.state_dict()}
    state = {}
    for tensor in gguf.GGUFReader(bundled_file()).tensors:
        values = gguf.dequantize(tensor.data, tensor.tensor_type)
        heads = {"attn_q": 9, "attn_k": 3}
        count = next((heads[part] for part in heads if part in tensor.name), 0)
        if count:
            values = values.reshape(count, -1, 2, 576).swapaxes(1, 2).reshape(values.shape)
        state[names[tensor.name]] = torch.from_numpy(values.copy())
    missing, unexpected = peer.load_state_dict(state, strict=False)
    assert set(missing) <= {"lm_head.weight"}
    assert not unexpected
    return peer


def peer_logits(model: LlamaForCausalLM, ids: list[int], start: int = 0) -> Tensor:
    with torch.inference_mode():
        positions = torch.arange(start, start + len(ids))[None]
        return model(torch.tensor([ids]), position_ids=positions).logits[0]


def random_ids(count: int, vocabulary: int = 500) -> list[int]:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, vocabulary, (count,), generator=generator).tolist()


def test_bundled_model(bundled: Engine) -> None:
    peer = bundled_peer()
    ids = bundled.tokenizer.encode(
        "The Longleaf pine is native to the Southeastern United States, 1834. " * 12
    )
    assert len(ids) > 200
    assert distance(bundled.logits(ids), peer_logits(peer, ids)) < TOLERANCE


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("shard", ["50GB", "40KB"])
def test_folder(tmp_path: Path, tied: bool, shard: str) -> None:
    peer = tiny_model(tie_word_embeddings=tied)
    write_folder(tmp_path, peer, shard=shard)
    assert (len(list(tmp_path.glob("*.safetensors"))) > 1) == (shard == "40KB")
    engine = Engine.load(tmp_path, device="cpu", dtype="float32")
    assert engine.parameter_count == sum(p.numel() for p in peer.parameters())
    ids = random_ids(700)
    assert distance(engine.logits(ids), peer_logits(peer, ids)) < TOLERANCE


def test_scaled_positions_beyond_the_original_context(tmp_path: Path) -> None:
    peer = tiny_model()
    engine = Engine.load(write_folder(tmp_path, peer), device="cpu", dtype="float32")
    ids = random_ids(8_500)
    ours = engine.logits(ids)[-300:]
    assert distance(ours, peer_logits(peer, ids)[-300:]) < TOLERANCE
    plain = tiny_model(rope_parameters={"rope_type": "default", "rope_theta": 500_000.0})
    assert distance(ours, peer_logits(plain, ids)[-300:]) > 10 * TOLERANCE


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("kind", ["F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q4_K", "Q6_K"])
def test_every_gguf_type(tmp_path: Path, kind: str, tied: bool) -> None:
    peer = tiny_model(tie_word_embeddings=tied, hidden_size=256, intermediate_size=512, vocab_size=512)
    values = write_gguf(tmp_path / "tiny.gguf", peer, kind)
    peer.load_state_dict(
        {name: torch.from_numpy(value.copy()) for name, value in values.items()}, strict=False
    )
    engine = Engine.load(tmp_path / "tiny.gguf", device="cpu", dtype="float32")
    ids = random_ids(300)
    assert distance(engine.logits(ids), peer_logits(peer, ids)) < TOLERANCE


def test_gguf_frequencies_are_not_stretched_twice(tmp_path: Path) -> None:
    peer = tiny_model(hidden_size=128)
    write_gguf(tmp_path / "tiny.gguf", peer, "F32")
    engine = Engine.load(tmp_path / "tiny.gguf", device="cpu", dtype="float32")
    ids = random_ids(8_300)
    assert distance(engine.logits(ids)[-100:], peer_logits(peer, ids)[-100:]) < TOLERANCE


def test_casting_the_model_leaves_the_rotation_in_float32(tiny_folder: Path) -> None:
    exact = Engine.load(tiny_folder, device="cpu", dtype="float32")
    coarse = Engine.load(tiny_folder, device="cpu", dtype="bfloat16")
    positions = torch.tensor([131_071])
    assert torch.equal(exact._executor._rope.table(positions), coarse._executor._rope.table(positions))
    ids = random_ids(8_300)
    cosine = torch.nn.functional.cosine_similarity(exact.logits(ids)[-64:], coarse.logits(ids)[-64:])
    assert float(cosine.min()) > 0.99


@pytest.mark.parametrize(
    ("shape", "count"),
    [
        ((4096, 32, 32, 8, 14_336), 8_030_261_248),
        ((8192, 80, 64, 8, 28_672), 70_553_706_496),
        ((16_384, 126, 128, 8, 53_248), 405_853_388_800),
    ],
)
def test_published_sizes(shape: tuple[int, int, int, int, int], count: int) -> None:
    hidden, layers, heads, kv_heads, ffn = shape
    config = LlamaConfig(128_256, hidden, layers, heads, kv_heads, 128, ffn, 1e-5, 5e5, None, 131_072, False)
    with torch.device("meta"):
        assert sum(parameter.numel() for parameter in Transformer(config).parameters()) == count


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"model_type": "mistral"}, "mistral"),
        ({"attention_bias": True}, "biases"),
        ({"hidden_act": "gelu"}, "gelu"),
        ({"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4}}, "yarn"),
    ],
)
def test_other_models_are_refused(change: dict[str, object], said: str) -> None:
    with pytest.raises(CheckpointError, match=said):
        LlamaConfig.from_hf({**tiny_model().config.to_dict(), **change})
