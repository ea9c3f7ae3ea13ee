"""One random model in every layout: Hugging Face's, Meta's in 1 to 16 shards, GGUF."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import pytest
import tiktoken
import torch
from checkpoints import CORPUS, LLAMA3_WORDS, SCALED_ROPE, tiny_model, write_folder, write_gguf
from hypothesis import given
from hypothesis import strategies as st
from meta_files import SHAPE, tiny_ranks, write_meta, write_ranks
from safetensors.torch import load_file, save_file
from torch import Tensor

from model import CheckpointError, Engine, TokenizerError
from model.llama.config import LlamaConfig
from model.llama.presets import PRESETS
from model.text.ranks import control_tokens, tokenizer_from_ranks
from model.weights.checkpoint import open_checkpoint

PLAIN_ROPE = {"rope_type": "default", "rope_theta": 500_000.0}
IDS = [int(token) for token in torch.randint(0, 500, (300,), generator=torch.Generator().manual_seed(3))]


def logits(path: Path) -> Tensor:
    return Engine.load(path, "cpu", "float32").logits(IDS)


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`plain` and `scaled` in every layout: folders, `.gguf` files and `-metaN` folders of N shards."""
    folder = tmp_path_factory.mktemp("shelf")
    for name, rope in (("plain", PLAIN_ROPE), ("scaled", SCALED_ROPE)):
        peer = tiny_model(**SHAPE, rope_parameters=rope)
        write_folder(folder / name, peer)
        write_gguf(folder / f"{name}.gguf", peer, "F32")
        for shards in (1, 2, 8):
            write_meta(folder / f"{name}-meta{shards}", peer, shards)
    return folder


@pytest.mark.parametrize("layout", ["-meta1", "-meta2", "-meta8", ".gguf"])
def test_every_layout_gives_the_same_bits(shelf: Path, layout: str) -> None:
    assert torch.equal(logits(shelf / f"plain{layout}"), logits(shelf / "plain"))


def test_stretched_frequencies_come_from_parameters_or_divisors(shelf: Path) -> None:
    expected = logits(shelf / "scaled")
    assert torch.equal(logits(shelf / "scaled-meta2"), expected)
    # GGUF carries divisors instead of parameters: the same frequencies but for their last bit.
    torch.testing.assert_close(logits(shelf / "scaled.gguf"), expected, rtol=0, atol=1e-4)
    assert open_checkpoint(shelf / "scaled-meta2").config.context_length == 131_072
    assert open_checkpoint(shelf / "plain-meta2").config.context_length == 8_192


@pytest.mark.parametrize("name", ["plain", "plain-meta2", "plain.gguf"])
def test_a_fingerprint_follows_the_content_and_not_the_place(shelf: Path, name: str, tmp_path: Path) -> None:
    copy, given_name = tmp_path / name, shelf / name
    (shutil.copytree if given_name.is_dir() else shutil.copy)(given_name, copy)
    first = open_checkpoint(given_name).fingerprint()
    assert open_checkpoint(copy).fingerprint() == first
    assert len(first) == 64
    weights = copy if copy.is_file() else max(copy.iterdir(), key=lambda path: path.stat().st_size)
    content = bytearray(weights.read_bytes())
    for place in range(len(content) // 3, len(content) // 2, 512):  # tuning changes weights everywhere
        content[place] ^= 1
    weights.write_bytes(content)
    assert open_checkpoint(copy).fingerprint() != first


def test_layouts_have_fingerprints_of_their_own(shelf: Path) -> None:
    names = ["plain", "scaled", "plain-meta1", "plain-meta2", "scaled-meta2", "plain.gguf", "scaled.gguf"]
    assert len({open_checkpoint(shelf / name).fingerprint() for name in names}) == len(names)


@pytest.mark.parametrize("tied", [True, False])
def test_the_embedding_may_be_split_either_way_and_be_the_head(tmp_path: Path, tied: bool) -> None:
    peer = tiny_model(**SHAPE, rope_parameters=PLAIN_ROPE, tie_word_embeddings=tied)
    expected = logits(write_folder(tmp_path / "hf", peer))
    assert torch.equal(logits(write_meta(tmp_path / "meta", peer, 4, by_features=True)), expected)


@pytest.mark.parametrize("layout", ["meta", "hf"])
def test_repeated_key_heads_are_taken_as_the_tensors_have_them(tmp_path: Path, layout: str) -> None:
    peer = tiny_model(**{**SHAPE, "num_key_value_heads": 4})
    expected = logits(write_folder(tmp_path / "hf", peer))
    if layout == "meta":
        path = write_meta(tmp_path / "meta", peer, 8, repeat=2)
    else:
        path = tmp_path / "hf"
        state = load_file(path / "model.safetensors")
        for name in [key for key in state if "k_proj" in key or "v_proj" in key]:
            state[name] = state[name].view(4, 8, -1).repeat_interleave(2, 0).flatten(0, 1).contiguous()
        save_file(state, path / "model.safetensors")
    engine = Engine.load(path, "cpu", "float32")
    assert engine.config.kv_heads == 8
    torch.testing.assert_close(engine.logits(IDS), expected, rtol=0, atol=1e-4)


def test_a_folder_original_is_found(shelf: Path, tmp_path: Path) -> None:
    hub = tmp_path / "models--owner--name" / "snapshots" / "abc"
    shutil.copytree(shelf / "plain-meta1", hub / "original")
    (hub / "config.json").write_text("{}")
    checkpoint = open_checkpoint(hub)
    assert checkpoint.name == "owner/name"
    assert checkpoint.config.kv_heads == 8


def test_missing_and_damaged_shards(shelf: Path, tmp_path: Path) -> None:
    folder = tmp_path / "meta"
    shutil.copytree(shelf / "plain-meta2", folder)
    first, second = folder / "consolidated.00.pth", folder / "consolidated.01.pth"
    content = second.read_bytes()
    second.unlink()
    with pytest.raises(CheckpointError, match="is a shard missing"):
        open_checkpoint(folder)
    second.write_bytes(content[: len(content) // 2])
    with pytest.raises(CheckpointError, match=r"cannot read .*consolidated\.01\.pth"):
        open_checkpoint(folder)
    second.write_bytes(content)
    first.unlink()
    with pytest.raises(CheckpointError, match=r"lacks weight files.*consolidated\.01\.pth"):
        open_checkpoint(folder)
    second.unlink()
    with pytest.raises(CheckpointError, match="there: none"):
        open_checkpoint(folder)


def test_parameters_that_cannot_be_right(shelf: Path, tmp_path: Path) -> None:
    folder = tmp_path / "meta"
    shutil.copytree(shelf / "plain-meta1", folder)
    params = json.loads((folder / "params.json").read_text())
    wrong = [
        ({"ffn_dim_multiplier": 2.0}, "384 feed-forward rows.*704"),
        ({"dim": None}, "dim"),
        ({"quantization_args": {"scheme": "int8"}}, "quantization_args"),
        ({"n_layers": 3}, r"lacks the tensor layers\.2"),
    ]
    for change, said in wrong:
        changed = {key: value for key, value in {**params, **change}.items() if value is not None}
        (folder / "params.json").write_text(json.dumps(changed))
        with pytest.raises(CheckpointError, match=said):
            Engine.load(folder, "cpu", "float32")


class Trap:
    """What a malicious pickle does when it is loaded."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.target,))


def test_a_pickle_with_code_is_refused_and_not_run(shelf: Path, tmp_path: Path) -> None:
    folder, sprung = tmp_path / "meta", tmp_path / "sprung"
    shutil.copytree(shelf / "plain-meta1", folder)
    torch.save({"tok_embeddings.weight": Trap(sprung)}, folder / "consolidated.00.pth")
    with pytest.raises(CheckpointError, match="more than tensors"):
        open_checkpoint(folder)
    (folder / "consolidated.00.pth").write_bytes(pickle.dumps(Trap(sprung)))
    with pytest.raises(CheckpointError):
        open_checkpoint(folder)
    assert not sprung.exists()
    pickle.loads((folder / "consolidated.00.pth").read_bytes())  # noqa: S301 (our own)
    assert sprung.exists()  # the trap works


@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("llama-3.1-8b", {"multiple_of": 1024, "ffn_dim_multiplier": 1.3}),
        ("llama-3.1-70b", {"multiple_of": 4096, "ffn_dim_multiplier": 1.3}),
        ("llama-3.1-405b", {"multiple_of": 4096, "ffn_dim_multiplier": 1.2}),
        ("llama-3.2-1b", {"multiple_of": 256, "ffn_dim_multiplier": 1.5}),
        ("llama-3.2-3b", {"multiple_of": 256, "ffn_dim_multiplier": 1.0}),
    ],
)
def test_published_parameters_give_the_published_shapes(name: str, params: dict[str, Any]) -> None:
    shape = PRESETS[name]
    found = LlamaConfig.from_meta(
        {
            "dim": shape.hidden_size, "n_layers": shape.layers, "n_heads": shape.heads, "n_kv_heads": 8,
            "norm_eps": 1e-5, "rope_theta": 500_000.0, "use_scaled_rope": True, **params,
        },
        vocab_size=128_256, q_rows=shape.hidden_size, kv_rows=8 * shape.head_dim, ffn_rows=shape.ffn_size,
        tied=shape.tied,
    )  # fmt: skip
    assert found == shape


@pytest.fixture(scope="module")
def peer() -> tiktoken.Encoding:
    """The tiny ranks in the library that Meta's own code uses."""
    ranks = tiny_ranks()
    control = {name: len(ranks) + index for index, name in enumerate(control_tokens())}
    return tiktoken.Encoding("tiny", pat_str=LLAMA3_WORDS, mergeable_ranks=ranks, special_tokens=control)


@pytest.fixture(scope="module")
def ranks_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("ranks") / "tokenizer.model"
    write_ranks(path, tiny_ranks())
    return path


def test_ranks_give_tiktoken_s_ids(ranks_file: Path, peer: tiktoken.Encoding) -> None:
    ours = tokenizer_from_ranks(ranks_file)

    @given(st.text() | st.text("aehqtu o'ü1 \n", max_size=60) | st.sampled_from([*CORPUS, *control_tokens()]))
    def same(text: str) -> None:
        ids = peer.encode_ordinary(text)
        assert ours.encode(text) == ids
        assert ours.decode(ids) == text

    same()


def test_control_tokens_have_llama_3_1_s_ids(ranks_file: Path) -> None:
    tokenizer, names = tokenizer_from_ranks(ranks_file), control_tokens()
    assert len(set(names)) == 256
    # Of the published vocabulary, where the first control token is 128000.
    published = {
        "<|begin_of_text|>": 0, "<|end_of_text|>": 1, "<|start_header_id|>": 6, "<|end_header_id|>": 7,
        "<|eom_id|>": 8, "<|eot_id|>": 9, "<|python_tag|>": 10, "<|reserved_special_token_247|>": 255,
    }  # fmt: skip
    first = len(tiny_ranks())
    assert {name: tokenizer.control[name] - first for name in published} == published
    assert tokenizer.bos_id == first
    assert tokenizer.stop_ids == {first + 1, first + 8, first + 9}


def test_other_tokenizer_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.model"
    with pytest.raises(TokenizerError, match=r"holds no tokenizer\.model"):
        tokenizer_from_ranks(path)
    for content in (b"\n\x0e\n\x05<unk>\x15\x00", b"YQ== 0\nYg== 2\n", b"YQ== 0\n", b"", b"!!!! 0\n"):
        path.write_bytes(content)
        with pytest.raises(TokenizerError, match="no ranks file"):
            tokenizer_from_ranks(path)


def test_a_dialogue_is_rendered_in_meta_s_layout_too(shelf: Path) -> None:
    engine = Engine.load(shelf / "plain-meta1", "cpu", "float32")
    assert engine.chat_format is not None
    ids = engine.chat_format.render([{"role": "user", "content": "Hello"}])
    assert ids[:2] == [len(tiny_ranks()), len(tiny_ranks()) + 6]
