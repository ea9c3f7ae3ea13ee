"""Builds the tokenizer from tokenizer.json or from GGUF metadata.

Both ways lead through the JSON form of the `tokenizers` library. Control tokens are taken out of it, so
that the encoder cannot produce them; they are kept beside it by name.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import tokenizers

from model.errors import TokenizerError
from model.text.tokenizer import Tokenizer

_END_NAMES = ("<|eot_id|>", "<|eom_id|>", "<|end_of_text|>", "<|im_end|>", "<|endoftext|>")
"""Control tokens that always end an answer; checkpoints often name only some of them."""

_BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
_LLAMA3_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
LLAMA3_SPLIT = {
    "type": "Sequence",
    "pretokenizers": [
        {"type": "Split", "pattern": {"Regex": _LLAMA3_WORDS}, "behavior": "Isolated", "invert": False},
        {**_BYTE_LEVEL, "use_regex": False},
    ],
}
_SMOLLM = {"type": "Sequence", "pretokenizers": [{"type": "Digits", "individual_digits": True}, _BYTE_LEVEL]}
_SPLITS: dict[str, dict[str, Any]] = {
    "gpt-2": _BYTE_LEVEL,
    "smollm": _SMOLLM,
    "llama-bpe": LLAMA3_SPLIT,
    "llama3": LLAMA3_SPLIT,
    "llama-v3": LLAMA3_SPLIT,
}
"""How text is cut into words before merging, by the name in `tokenizer.ggml.pre`."""

_GGUF_CONTROL, _GGUF_USER_DEFINED = 3, 4


def tokenizer_from_gguf(metadata: Mapping[str, Any]) -> Tokenizer:
    """Rebuild a tokenizer from `tokenizer.ggml.*`.

    Raises:
        TokenizerError: not byte-level BPE, a word splitting that is not known, or keys are missing.
    """
    kind, split = metadata.get("tokenizer.ggml.model"), metadata.get("tokenizer.ggml.pre", "default")
    if kind != "gpt2":
        raise TokenizerError(f"tokenizer.ggml.model is {kind!r}; only byte-level BPE ('gpt2') is read")
    if split not in _SPLITS:
        raise TokenizerError(f"tokenizer.ggml.pre is {split!r}; these are known: {', '.join(_SPLITS)}")
    try:
        tokens, merges = metadata["tokenizer.ggml.tokens"], metadata["tokenizer.ggml.merges"]
    except KeyError as missing:
        raise TokenizerError(f"the GGUF metadata lacks {missing}") from missing
    types = metadata.get("tokenizer.ggml.token_type") or [1] * len(tokens)
    added = [
        {"id": index, "content": token, "special": kind == _GGUF_CONTROL}
        for index, (token, kind) in enumerate(zip(tokens, types, strict=True))
        if kind in (_GGUF_CONTROL, _GGUF_USER_DEFINED)
    ]
    spec = {
        "model": {
            "type": "BPE",
            "vocab": {token: index for index, token in enumerate(tokens)},
            "merges": [merge.split(" ", 1) for merge in merges],
            # Llama 3 takes a word that is in the vocabulary whole, without trying to merge it together.
            "ignore_merges": _SPLITS[split] is LLAMA3_SPLIT,
        },
        "pre_tokenizer": _SPLITS[split],
        "added_tokens": added,
    }
    prefix = "tokenizer.ggml."
    # llama.cpp's loader adds a BOS to llama-bpe text unless told otherwise, and to no other gpt2 vocabulary.
    add_bos = metadata.get(f"{prefix}add_bos_token", _SPLITS[split] is LLAMA3_SPLIT)
    ends = [metadata.get(f"{prefix}{name}_token_id") for name in ("eos", "eot", "eom")]
    bos = metadata.get(f"{prefix}bos_token_id") if add_bos else None
    return build(spec, bos, [end for end in ends if end is not None])


def tokenizer_from_folder(folder: Path) -> Tokenizer:
    """Read `tokenizer.json`, and stop ids from the other JSON files beside it too.

    Raises:
        TokenizerError: the file is missing or is not byte-level BPE.
    """
    path = folder / "tokenizer.json"
    if not path.is_file():
        raise TokenizerError(f"{folder} holds no tokenizer.json")
    spec = _object(path)
    settings = _object(folder / "tokenizer_config.json")
    names = {entry["content"]: int(entry["id"]) for entry in spec.get("added_tokens") or ()}
    ends: list[int] = []
    for source in ("config.json", "generation_config.json"):
        eos = _object(folder / source).get("eos_token_id")
        ends += [eos] if isinstance(eos, int) else list(eos or ())
    if (eos_name := _content(settings.get("eos_token"))) in names:
        ends.append(names[eos_name])
    return build(spec, _bos_of(spec, settings, names), ends)


def _bos_of(spec: Mapping[str, Any], settings: Mapping[str, Any], names: Mapping[str, int]) -> int | None:
    """The BOS that the checkpoint's own tokenizer would put first, by flag or by its post-processor."""
    bos = names.get(_content(settings.get("bos_token")))
    if "add_bos_token" in settings:
        return bos if settings["add_bos_token"] else None
    quoted = json.dumps(_content(settings.get("bos_token")))
    return bos if quoted in json.dumps(spec.get("post_processor")) else None


def build(spec: dict[str, Any], bos_id: int | None, stop_ids: Iterable[int]) -> Tokenizer:
    """A tokenizer from what a tokenizer.json holds.

    Args:
        stop_ids: ids that end an answer, besides the control tokens that always do.

    Raises:
        TokenizerError: not byte-level BPE, or malformed.
    """
    model = spec.get("model") or {}
    if model.get("type") != "BPE" or '"ByteLevel"' not in json.dumps(spec.get("pre_tokenizer")):
        raise TokenizerError("the tokenizer is not byte-level BPE, the only kind that Llama 3 models use")
    added = spec.get("added_tokens") or []
    control = {entry["content"]: int(entry["id"]) for entry in added if _is_control(entry)}
    vocabulary: dict[str, int] = {**model["vocab"], **{entry["content"]: int(entry["id"]) for entry in added}}
    size = max(vocabulary.values()) + 1
    table = byte_table()
    pieces = [b""] * size
    literal = {entry["content"] for entry in added}
    for token, index in vocabulary.items():
        whole = token in literal or any(letter not in table for letter in token)
        pieces[index] = (
            token.encode("utf-8", "surrogateescape") if whole else bytes(table[letter] for letter in token)
        )
    plain = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [_plain_entry(entry) for entry in added if not _is_control(entry)],
        "normalizer": spec.get("normalizer"),
        "pre_tokenizer": spec["pre_tokenizer"],
        "post_processor": None,
        "decoder": None,
        "model": model,
    }
    try:
        encoder = tokenizers.Tokenizer.from_str(json.dumps(plain))
    except Exception as error:  # the library raises bare Exception for a malformed specification
        raise TokenizerError(f"the tokenizer cannot be built: {error}") from error
    return Tokenizer(
        vocab_size=size,
        control=control,
        bos_id=bos_id,
        stop_ids=frozenset(stop_ids) | {control[name] for name in _END_NAMES if name in control},
        _plain=encoder,
        _bytes=pieces,
        _control_ids=frozenset(control.values()),
    )


def _is_control(entry: Mapping[str, Any]) -> bool:
    """Flagged as special, or shaped like a control token: some files forget the flag."""
    content = str(entry["content"])
    return bool(entry.get("special")) or (content.startswith("<|") and content.endswith("|>"))


def _plain_entry(entry: Mapping[str, Any]) -> dict[str, Any]:
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": False}
    return {**flags, **entry}


def byte_table() -> dict[str, int]:
    """Byte for each letter of GPT-2's byte-level alphabet: printable ones as they are, others from U+0100."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(0x100 + i): byte for i, byte in enumerate(others)}


def _content(token: Any) -> str:
    """A token in tokenizer_config.json is a string or an object with `content`."""
    return str(token.get("content", "")) if isinstance(token, dict) else str(token or "")


def _object(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        value = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise TokenizerError(f"{path} is not JSON: {error}") from error
    return value if isinstance(value, dict) else {}
