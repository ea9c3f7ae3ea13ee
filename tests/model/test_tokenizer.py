"""Token ids equal those of the checkpoint's own tokenizer."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from checkpoints import tiny_model, tiny_tokenizer, write_gguf
from hypothesis import assume, given
from hypothesis import strategies as st
from tokenizers.pre_tokenizers import ByteLevel, Digits, Sequence
from transformers import AutoTokenizer

from model import Engine, TokenizerError
from model.text.vocabulary import tokenizer_from_folder, tokenizer_from_gguf
from model.weights.gguf import GGUFFile
from model.weights.hub import bundled as bundled_file

SAMPLES = [
    "It's 1834, isn't it? I'LL see;  tabs\t\tand\r\nlines \n\n  end  ",
    "नमस्ते दुनिया १२३, สวัสดีชาวโลก ๑๒๓, العربية ١٢٣, 中文字符，Ελληνικά",
    "def f(x):\n    return {'a': [1, 22, 333, 4444]} # 👩‍👩‍👧‍👦 🇩🇪",
    "",
]


def test_bundled_ids_equal_transformers(bundled: Engine) -> None:
    file = bundled_file()
    peer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
    # The model's published tokenizer cuts digits of every script apart; transformers' GGUF loader forgets it.
    peer.backend_tokenizer.pre_tokenizer = Sequence([Digits(True), ByteLevel(False)])
    for text in SAMPLES:
        assert bundled.tokenizer.encode(text) == peer(text, add_special_tokens=False)["input_ids"]


@pytest.mark.parametrize("text", SAMPLES)
def test_folder_and_gguf_build_the_same(tmp_path: Path, tiny: Engine, text: str) -> None:
    write_gguf(tmp_path / "tiny.gguf", tiny_model(), "F32")
    rebuilt = tokenizer_from_gguf(GGUFFile(tmp_path / "tiny.gguf").metadata)
    expected = tiny_tokenizer().encode(text).ids
    assert tiny.tokenizer.encode(text) == rebuilt.encode(text) == expected
    assert tiny.tokenizer.encode_batch([text, "x"])[0] == expected
    assert rebuilt.bos_id == tiny.tokenizer.bos_id == tiny.tokenizer.control["<|begin_of_text|>"]
    assert rebuilt.stop_ids == tiny.tokenizer.stop_ids
    assert rebuilt.vocab_size == tiny.tokenizer.vocab_size


@given(st.text())
def test_decoding_returns_the_text(bundled: Engine, text: str) -> None:
    tokenizer = bundled.tokenizer
    known = {tokenizer.token_bytes(token) for token in range(tokenizer.vocab_size)}
    assume(all(bytes([byte]) in known for byte in text.encode()))
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert b"".join(tokenizer.token_bytes(token) for token in ids) == text.encode()


def test_stop_ids_are_the_union_of_all_sources(tiny: Engine, tiny_folder: Path, tmp_path: Path) -> None:
    control = tiny.tokenizer.control
    assert {
        control["<|eot_id|>"],
        control["<|eom_id|>"],
        control["<|end_of_text|>"],
    } <= tiny.tokenizer.stop_ids
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).write_text((tiny_folder / name).read_text())
    (tmp_path / "config.json").write_text(json.dumps({"eos_token_id": 11}))
    (tmp_path / "generation_config.json").write_text(json.dumps({"eos_token_id": [12, 13]}))
    assert tokenizer_from_folder(tmp_path).stop_ids == tiny.tokenizer.stop_ids | {11, 12, 13}


def test_a_control_token_without_its_flag_is_still_out_of_reach(tiny_folder: Path, tmp_path: Path) -> None:
    spec = json.loads((tiny_folder / "tokenizer.json").read_text())
    for entry in spec["added_tokens"]:
        entry["special"] = False
    (tmp_path / "tokenizer.json").write_text(json.dumps(spec))
    tokenizer = tokenizer_from_folder(tmp_path)
    assert tokenizer.control["<|eot_id|>"] not in tokenizer.encode("a<|eot_id|>b")


def test_unknown_tokenizers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TokenizerError, match=r"no tokenizer\.json"):
        tokenizer_from_folder(tmp_path)
    (tmp_path / "tokenizer.json").write_text(json.dumps({"model": {"type": "Unigram", "vocab": []}}))
    with pytest.raises(TokenizerError, match="byte-level BPE"):
        tokenizer_from_folder(tmp_path)
    with pytest.raises(TokenizerError, match="'llama'"):
        tokenizer_from_gguf({"tokenizer.ggml.model": "llama"})
    with pytest.raises(TokenizerError, match="'mystery'"):
        tokenizer_from_gguf({"tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": "mystery"})
