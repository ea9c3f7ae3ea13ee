"""Token ids equal those of the checkpoint's own tokenizer."""

from __future__ import annotations

import base64
import json
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import tokenizers
from checkpoints import tiny_model, tiny_tokenizer, write_gguf
from hypothesis import assume, given
from hypothesis import strategies as st
from tokenizers.pre_tokenizers import ByteLevel, Digits, Sequence
from transformers import AutoTokenizer

from model import Engine, TokenizerError
from model.text.ranks import tokenizer_from_ranks
from model.text.tokenizer import Tokenizer
from model.text.vocabulary import tokenizer_from_folder, tokenizer_from_gguf
from model.weights.gguf import GGUFFile
from model.weights.hub import bundled as bundled_file

LLAMA31 = Path(__file__).resolve().parents[2] / ".cache" / "llama-3.1-tokenizer"
GOLDEN = json.loads((Path(__file__).parent / "golden" / "chat.json").read_text("utf-8"))
SPEECH = [[str(turn["content"]) for turn in case["messages"]] for case in GOLDEN if "several" in case["name"]]
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


def test_other_threads_go_on_while_a_long_text_is_encoded(bundled: Engine) -> None:
    passed, over, interval = 0, threading.Event(), sys.getswitchinterval()

    def live() -> None:
        nonlocal passed
        while not over.wait(0.0001):
            passed += 1

    other = threading.Thread(target=live)
    sys.setswitchinterval(60)  # nobody is made to give the interpreter up
    other.start()
    try:
        before = passed
        bundled.tokenizer.encode("The keeper of the light lives in the tower. " * 20_000)
        assert passed > before
    finally:
        over.set()
        sys.setswitchinterval(interval)
        other.join()


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


def test_half_a_surrogate_pair_is_read_as_its_replacement(bundled: Engine) -> None:
    tokenizer = bundled.tokenizer
    for text in ("a\ud800b", "\udc00 ü"):
        expected = tokenizer.encode(text.encode("utf-16", "surrogatepass").decode("utf-16", "replace"))
        assert tokenizer.encode(text) == tokenizer.encode_batch([text])[0] == expected


def test_llama31_control_tokens_have_their_published_ids(llama31: Tokenizer) -> None:
    published = {
        "<|begin_of_text|>": 128000, "<|end_of_text|>": 128001, "<|reserved_special_token_0|>": 128002,
        "<|reserved_special_token_1|>": 128003, "<|finetune_right_pad_id|>": 128004,
        "<|reserved_special_token_2|>": 128005, "<|start_header_id|>": 128006, "<|end_header_id|>": 128007,
        "<|eom_id|>": 128008, "<|eot_id|>": 128009, "<|python_tag|>": 128010,
        **{f"<|reserved_special_token_{number}|>": 128008 + number for number in range(3, 248)},
    }  # fmt: skip
    assert dict(llama31.control) == published
    assert llama31.vocab_size == 128256
    assert llama31.bos_id == 128000
    assert llama31.stop_ids == {128001, 128008, 128009}


def gguf_of(folder: Path) -> dict[str, Any]:
    """The metadata that a GGUF file of Llama 3.1 carries."""
    spec = json.loads((folder / "tokenizer.json").read_text())
    words = {**spec["model"]["vocab"], **{entry["content"]: entry["id"] for entry in spec["added_tokens"]}}
    tokens = sorted(words, key=words.__getitem__)
    special = {entry["content"] for entry in spec["added_tokens"]}
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "llama-bpe",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": [3 if token in special else 1 for token in tokens],
        "tokenizer.ggml.merges": [" ".join(merge) for merge in spec["model"]["merges"]],
        "tokenizer.ggml.bos_token_id": 128000,
        "tokenizer.ggml.eos_token_id": 128009,
    }


def ranks_of(folder: Path) -> bytes:
    """The ranks file of Meta's layout: the vocabulary in the order of its ids."""
    spec = json.loads((folder / "tokenizer.json").read_text())
    letters = {chr(byte): byte for byte in PRINTABLE}
    others = [byte for byte in range(256) if byte not in PRINTABLE]
    letters |= {chr(0x100 + place): byte for place, byte in enumerate(others)}
    lines = [
        base64.b64encode(bytes(letters[letter] for letter in token)) + f" {rank}".encode()
        for token, rank in spec["model"]["vocab"].items()
    ]
    return b"\n".join(lines)


PRINTABLE = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]


@pytest.mark.parametrize("layout", ["folder", "GGUF", "ranks"])
def test_llama31_in_every_layout(llama31: Tokenizer, tmp_path: Path, layout: str) -> None:
    if layout == "GGUF":
        rebuilt = tokenizer_from_gguf(gguf_of(LLAMA31))
    elif layout == "ranks":
        (tmp_path / "tokenizer.model").write_bytes(ranks_of(LLAMA31))
        rebuilt = tokenizer_from_ranks(tmp_path / "tokenizer.model")
    else:
        rebuilt = llama31
    own = tokenizers.Tokenizer.from_file(str(LLAMA31 / "tokenizer.json"))
    own.encode_special_tokens = True
    for text in [*SAMPLES, *(" ".join(speech) for speech in SPEECH), "<|eot_id|> <|python_tag|>" * 3]:
        assert rebuilt.encode(text) == own.encode(text, add_special_tokens=False).ids
    assert dict(rebuilt.control) == dict(llama31.control)
    assert rebuilt.stop_ids == llama31.stop_ids
    assert (rebuilt.bos_id, rebuilt.vocab_size) == (128000, 128256)


def test_stop_ids_of_gguf_come_from_every_key(tiny: Engine, tmp_path: Path) -> None:
    write_gguf(tmp_path / "tiny.gguf", tiny_model(), "F32")
    metadata = {**GGUFFile(tmp_path / "tiny.gguf").metadata}
    metadata |= {
        f"tokenizer.ggml.{end}_token_id": place for place, end in enumerate(("eos", "eot", "eom"), 5)
    }
    assert tokenizer_from_gguf(metadata).stop_ids == tiny.tokenizer.stop_ids | {5, 6, 7}
