"""Builds the tokenizer from a ranks file, as Meta ships it: a line for each token, base64 and its rank.

Such a file has no list of merges: any two neighbours may be joined whose bytes together are a token, the
lowest rank first. The `tokenizers` library wants pairs, so every way to cut a token in two becomes one.
"""

from __future__ import annotations

import base64
import binascii
from pathlib import Path

from model.errors import TokenizerError
from model.text.tokenizer import Tokenizer
from model.text.vocabulary import LLAMA3_SPLIT, build, byte_table

_NAMED = (
    "<|begin_of_text|>", "<|end_of_text|>", "<|reserved_special_token_0|>", "<|reserved_special_token_1|>",
    "<|finetune_right_pad_id|>", "<|reserved_special_token_2|>", "<|start_header_id|>", "<|end_header_id|>",
    "<|eom_id|>", "<|eot_id|>", "<|python_tag|>",
)  # fmt: skip
_RESERVED = 256
"""Ids after the last token that are kept for control tokens; most have no use yet."""


def control_tokens() -> tuple[str, ...]:
    """Llama 3.1's 256 control tokens in the order of their ids, which begin after the last token."""
    return (*_NAMED, *(f"<|reserved_special_token_{number}|>" for number in range(3, _RESERVED - 8)))


def tokenizer_from_ranks(path: Path) -> Tokenizer:
    """Read a ranks file (`tokenizer.model` in Meta's layout).

    Raises:
        TokenizerError: there is none, or it is something else, such as Llama 2's SentencePiece model.
    """
    ranks = _read(path)
    letters = {byte: letter for letter, byte in byte_table().items()}

    def word(token: bytes) -> str:
        return "".join(letters[byte] for byte in token)

    control = {name: len(ranks) + index for index, name in enumerate(control_tokens())}
    spec = {
        "model": {
            "type": "BPE",
            "vocab": {word(token): rank for token, rank in ranks.items()},
            "merges": [[word(left), word(right)] for left, right in _merges(ranks)],
            "ignore_merges": True,
        },
        "pre_tokenizer": LLAMA3_SPLIT,
        "added_tokens": [{"id": i, "content": name, "special": True} for name, i in control.items()],
    }
    return build(spec, control["<|begin_of_text|>"], ())


def _read(path: Path) -> dict[bytes, int]:
    """Rank of every token, in the order of the ranks."""
    if not path.is_file():
        raise TokenizerError(f"{path.parent} holds no {path.name}")
    other = f"{path} is no ranks file of a byte-level tokenizer, the only kind that Llama 3 models use"
    ranks: dict[bytes, int] = {}
    try:
        for line in path.read_bytes().splitlines():
            if line:
                token, rank = line.split()
                ranks[base64.b64decode(token, validate=True)] = int(rank)
    except (ValueError, binascii.Error) as error:
        raise TokenizerError(other) from error
    ranks = dict(sorted(ranks.items(), key=lambda entry: entry[1]))
    if list(ranks.values()) != list(range(len(ranks))) or any(bytes([b]) not in ranks for b in range(256)):
        raise TokenizerError(f"{other}: its ranks have gaps, or a byte has no token")
    return ranks


def _merges(ranks: dict[bytes, int]) -> list[tuple[bytes, bytes]]:
    merges: list[tuple[bytes, bytes]] = []
    for token in ranks:
        cuts = [(token[:at], token[at:]) for at in range(1, len(token))]
        known = [(left, right) for left, right in cuts if left in ranks and right in ranks]
        # Two cuts of one token have the same rank; only the leftmost place decides, and this order keeps it.
        merges += sorted(known, key=lambda cut: (ranks[cut[0]], ranks[cut[1]]))
    return merges
