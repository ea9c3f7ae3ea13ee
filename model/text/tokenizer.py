"""Text to token ids and back, with control tokens out of reach of any text."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import tokenizers

LONG = 4000
"""Characters from which on a text is encoded as a batch of one. The library's `encode` keeps the interpreter
until it is done, a third of a millisecond for each 1,000 characters; a batch gives it up, but is handed to
other threads, and many short texts would wait for those each time."""


@dataclass(frozen=True, eq=False)
class Tokenizer:
    """A byte-level BPE tokenizer.

    Attributes:
        vocab_size: number of ids, control tokens included.
        control: id of every control token by its text, such as "<|eot_id|>". No text encodes to one.
        bos_id: the id that starts every sequence, None where the model does without.
        stop_ids: ids that end an answer, from every source of the checkpoint that names one.
    """

    vocab_size: int
    control: Mapping[str, int]
    bos_id: int | None
    stop_ids: frozenset[int]
    _plain: tokenizers.Tokenizer = field(repr=False)
    _bytes: Sequence[bytes] = field(repr=False)
    _control_ids: frozenset[int] = field(repr=False)

    def encode(self, text: str) -> list[int]:
        """Ids of a text, without BOS. What looks like a control token is encoded as ordinary text.

        A byte that the vocabulary has no token for is left out (SmolLM2 lacks six control characters and
        the lead bytes of the unassigned planes from U+40000 on; Llama 3 has all 256). Half of a surrogate
        pair, which JSON can say and UTF-8 cannot, is read as U+FFFD.
        """
        if len(text) > LONG:
            return self.encode_batch([text])[0]
        ids: list[int] = self._plain.encode(_sayable(text), add_special_tokens=False).ids
        return ids

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """`encode` of many texts, in parallel."""
        done = self._plain.encode_batch_fast(list(map(_sayable, texts)), add_special_tokens=False)
        return [each.ids for each in done]

    def decode(self, ids: Iterable[int], *, control: bool = False) -> str:
        """Text of ids; incomplete UTF-8 becomes U+FFFD. Control tokens are left out unless `control`."""
        kept = ids if control else (token for token in ids if token not in self._control_ids)
        return b"".join(self.token_bytes(token) for token in kept).decode("utf-8", "replace")

    def token_bytes(self, token: int) -> bytes:
        """The bytes that a token stands for; its name for a control token, none for padding."""
        return self._bytes[token] if token < self.vocab_size else b""

    def is_control(self, token: int) -> bool:
        """Whether a token is a control token, which is never part of a text."""
        return token in self._control_ids

    def to_json(self) -> str:
        """A `tokenizer.json` of the whole tokenizer, control tokens included, as other programs read it."""
        spec = json.loads(self._plain.to_str())
        flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
        control = [{"id": index, "content": text, **flags} for text, index in self.control.items()]
        spec["added_tokens"] = sorted(spec["added_tokens"] + control, key=lambda entry: entry["id"])
        spec["decoder"] = {
            "type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True,
        }  # fmt: skip
        return json.dumps(spec, ensure_ascii=False)


def _sayable(text: str) -> str:
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text
