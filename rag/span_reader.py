"""The reader: the bundled encoder over question and passage together, with an adapter that says where the
answer stands and whether it does.

The adapter adds a matrix of low rank to each matrix of every layer (Hu et al. 2021, "LoRA") and has rows on
top: start and end of the answer among the passage's tokens, each beside the state of the first token,
which stands for "it is not said here" (Devlin et al. 2019, "BERT", section 4.3). `bench/reader.py` trains it;
`span_reader.safetensors` is what it trained (docs/decisions/0317-the-reader-learns-elsewhere-first.md).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from rag.embedders.unigram import UnigramTokenizer

if TYPE_CHECKING:
    from torch import Tensor

    from rag.embedders.packed import Layer, PackedEncoder

WEIGHTS = Path(__file__).with_name("span_reader.safetensors")
ANSWER_TOKENS = 24
"""Longest answer that is pointed at."""
PAIR_TOKENS = 320
"""Longest question and passage together; the passage's end is cut off."""
MOST = 15.0
"""Largest margin either way, in nats: beyond it is no more than certain."""
MATRICES = ("qkv", "out", "up", "down")
"""Of a layer, those that the adapter adds to."""


@dataclass(frozen=True)
class SpanReading:
    """What was read in one passage: the range of the likeliest answer in its characters, and the log-odds, in
    nats, that the passage says an answer. A passage without a token has the range (0, 0) and the lowest
    margin."""

    span: tuple[int, int]
    margin: float


@dataclass(frozen=True)
class Pointed:
    """The same in tokens: the likeliest answer's first and last token among those of the pair."""

    place: tuple[int, int]
    margin: float


class SpanReader:
    """The encoder with an adapter; holds no state between calls, threads may call at once."""

    def __init__(
        self, encoder: PackedEncoder, tokenizer: UnigramTokenizer, adapter: Mapping[str, Tensor]
    ) -> None:
        """`adapter` holds `low.N_MATRIX_down` [rank, in] and `low.N_MATRIX_up` [out, rank] of each matrix of
        each layer, `rows` [2 or more, hidden] and `bias`."""
        added = [_with(layer, adapter, number) for number, layer in enumerate(encoder.layers)]
        self._encoder = encoder.with_layers(added)
        self._rows, self._bias = adapter["rows"].float(), adapter["bias"].float()
        self._tokenizer = tokenizer

    @classmethod
    def load(cls, encoder: PackedEncoder, tokenizer: UnigramTokenizer, path: Path = WEIGHTS) -> SpanReader:
        """The reader with the adapter of a safetensors file."""
        from safetensors.torch import load_file  # noqa: PLC0415

        return cls(encoder, tokenizer, load_file(path))

    def read(self, question: str, passages: Sequence[str]) -> list[SpanReading]:
        """What each passage says to the question."""
        import torch  # noqa: PLC0415

        pairs = [pair(self._tokenizer, question, passage) for passage in passages]
        if not pairs:
            return []
        with torch.inference_mode():
            states = self._encoder.states([ids for ids, _ in pairs]).float()
            scores = torch.split(states @ self._rows.T + self._bias, [len(ids) for ids, _ in pairs])
        found = []
        for passage, each, (_, first) in zip(passages, scores, pairs, strict=True):
            read = likeliest(each, first)
            places = self._tokenizer.spans(passage)[read.place[0] - first : read.place[1] - first + 1]
            start, end = (int(places[0][0]), int(places[-1][1])) if len(places) and read.place[0] else (0, 0)
            words = passage[start:end].lstrip()  # a token begins with the space before it
            found.append(SpanReading((end - len(words), end), read.margin))
        return found


def pair(tokenizer: UnigramTokenizer, question: str, passage: str) -> tuple[list[int], int]:
    """The ids of both as they are read, and the place of the passage's first token."""
    head = tokenizer.encode(f"query: {question}", PAIR_TOKENS // 2)
    room = PAIR_TOKENS - len(head) - 1
    return [*head, *tokenizer.encode(passage)[1:-1][:room], tokenizer.eos], len(head)


def likeliest(scores: Tensor, first: int) -> Pointed:
    """The likeliest answer by `scores`, float32[tokens, 2 or more], of a pair whose passage begins at
    `first`.

    Start and end are distributions over no answer and the passage's tokens; that both are no answer is the
    chance that nothing is said, so the margin counts every place where an answer may be, not the best alone.
    """
    import torch  # noqa: PLC0415

    passage = scores[first:-1, :2]
    size = len(passage)
    if not size:
        return Pointed((0, 0), -MOST)
    places = torch.log_softmax(torch.cat([scores[:1, :2], passage]), dim=0)
    unsaid = float(places[0].sum())
    said = math.log(max(-math.expm1(unsaid), 1e-30))
    table = passage[:, 0][:, None] + passage[:, 1][None, :]
    gap = torch.arange(size)[None, :] - torch.arange(size)[:, None]
    table = table.masked_fill((gap < 0) | (gap >= ANSWER_TOKENS), float("-inf"))
    at = int(table.argmax())
    return Pointed((first + at // size, first + at % size), min(max(said - unsaid, -MOST), MOST))


def reader_for(embedder: object) -> SpanReader | None:
    """The reader that shares the embedder's encoder; None beside any but the bundled one on a CPU."""
    parts: tuple[PackedEncoder, UnigramTokenizer] | None = getattr(embedder, "bundled", None)
    return None if parts is None else _shipped(*parts)


@lru_cache(maxsize=1)
def _shipped(encoder: PackedEncoder, tokenizer: UnigramTokenizer) -> SpanReader:
    return SpanReader.load(encoder, tokenizer)


def _with(layer: Layer, adapter: Mapping[str, Tensor], number: int) -> Layer:
    """The layer with what the adapter adds to its matrices."""
    changed = {}
    for name in MATRICES:
        weight, bias = getattr(layer, name)
        down, up = (adapter[f"low.{number}_{name}_{part}"].float() for part in ("down", "up"))
        changed[name] = ((weight.float() + up @ down).to(weight.dtype).contiguous(), bias)
    return replace(layer, **changed)
