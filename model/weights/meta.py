"""Meta's own layout: `params.json`, `tokenizer.model`, `consolidated.NN.pth` for each model-parallel rank.

The files are pickles. They are read with `weights_only`, which builds tensors and containers and runs nothing
else, and mapped into memory instead of read.
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from model.errors import CheckpointError
from model.llama.config import LlamaConfig
from model.llama.transformer import Transformer
from model.text.ranks import tokenizer_from_ranks
from model.text.tokenizer import Tokenizer
from model.weights.files import fingerprint, folder_name, json_object
from model.weights.mapping import Sources, meta_placements

_SPLIT_BY_COLUMNS = re.compile(r"\.(wo|w2)\.weight$")
"""In these each rank holds some columns. Every other matrix is split by rows; norms are repeated."""

_TEMPLATE = "<|begin_of_text|><|start_header_id|>{role}<|end_header_id|>\n\n{content}<|eot_id|>"
"""The layout has no template file: the format is part of Meta's code, and the same in all Llama 3 models."""


class MetaCheckpoint:
    """A model in Meta's layout; `checkpoint.Checkpoint` says what the members mean."""

    def __init__(self, folder: Path) -> None:
        """Map the weight files.

        Raises:
            CheckpointError: not Llama 3, a shard is missing, or a file is damaged.
        """
        self._folder = folder
        params = json_object(folder / "params.json")
        for key in ("quantization_args", "lora_args", "vision_chunk_size", "moe_args"):
            if params.get(key):
                raise CheckpointError(f"params.json of {folder} has {key}: that variant is not read")
        self._files = _files(folder)
        self._shards = [_load(path) for path in self._files]
        self.config = LlamaConfig.from_meta(
            params,
            vocab_size=self._rows("tok_embeddings.weight", int(params.get("dim", 0))),
            q_rows=self._rows("layers.0.attention.wq.weight"),
            kv_rows=self._rows("layers.0.attention.wk.weight"),
            ffn_rows=self._rows("layers.0.feed_forward.w1.weight"),
            tied="output.weight" not in self._shards[0],
        )
        self.name = folder_name(folder)
        self.rope_divisors: Tensor | None = None
        self.chat_template: str | None = _TEMPLATE

    def tokenizer(self) -> Tokenizer:
        """From tokenizer.model."""
        return tokenizer_from_ranks(self._folder / "tokenizer.model")

    def prepare(self, model: Transformer, device: torch.device, *, packed: bool = False) -> None:
        """Nothing: all layers are dense."""

    def sources(self, model: Transformer | None = None) -> Sources:  # noqa: ARG002
        """The shards, joined."""
        return meta_placements(self.config), self._tensor

    def fingerprint(self) -> str:
        """Of params and tokenizer whole, and of samples of the weights."""
        small = [self._folder / name for name in ("params.json", "tokenizer.model")]
        return fingerprint([*(path for path in small if path.is_file()), *self._files], 1 << 20)

    def _pieces(self, name: str) -> list[Tensor]:
        try:
            return [shard[name] for shard in self._shards]
        except KeyError as missing:
            raise CheckpointError(f"a shard in {self._folder} lacks the tensor {name}") from missing

    def _rows(self, name: str, columns: int = 0) -> int:
        """Rows of a matrix in all shards together; with `columns` it may be split the other way."""
        pieces = self._pieces(name)
        if columns and pieces[0].shape[1] != columns:
            return int(pieces[0].shape[0])
        return sum(int(piece.shape[0]) for piece in pieces)

    def _tensor(self, name: str) -> Tensor:
        if name not in self._shards[0]:
            raise KeyError(name)
        pieces = self._pieces(name)
        if len(pieces) == 1 or pieces[0].ndim == 1:
            return pieces[0]
        # Llama 3 splits the embedding by words, earlier models by features.
        by_features = name == "tok_embeddings.weight" and pieces[0].shape[1] != self.config.hidden_size
        return torch.cat(pieces, dim=1 if by_features or _SPLIT_BY_COLUMNS.search(name) else 0)


def _files(folder: Path) -> list[Path]:
    found = {
        int(match[1]): path
        for path in folder.glob("consolidated.*.pth")
        if (match := re.fullmatch(r"consolidated\.(\d+)\.pth", path.name))
    }
    if sorted(found) != list(range(len(found))) or not found:
        there = ", ".join(path.name for _, path in sorted(found.items())) or "none"
        raise CheckpointError(f"{folder} lacks weight files: consolidated.00.pth and on; there: {there}")
    return [found[number] for number in range(len(found))]


def _load(path: Path) -> Mapping[str, Tensor]:
    try:
        shard: Any = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(f"{path} holds more than tensors, or is damaged; it was not run") from error
    except (OSError, RuntimeError, EOFError, ValueError) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(f"cannot read {path}: {first}") from error
    if not isinstance(shard, dict) or not all(isinstance(value, Tensor) for value in shard.values()):
        raise CheckpointError(f"{path} holds no table of tensors")
    return shard
