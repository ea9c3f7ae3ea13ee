"""One model on disk, whatever its format: configuration, weights, tokenizer, chat template, identity."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from model.errors import CheckpointError
from model.llama.config import LlamaConfig
from model.llama.transformer import Transformer
from model.text.tokenizer import Tokenizer
from model.text.vocabulary import tokenizer_from_folder, tokenizer_from_gguf
from model.weights.gguf import GGUFFile
from model.weights.mapping import fill, gguf_placements, hf_placements
from model.weights.safetensors import SafetensorsFolder


class Checkpoint(Protocol):
    """What `Engine.load` needs of a model on disk."""

    @property
    def name(self) -> str:
        """A name for people."""
        ...

    @property
    def config(self) -> LlamaConfig: ...

    @property
    def rope_divisors(self) -> Tensor | None:
        """[head_dim / 2] divisors of the rotary frequencies, where the file carries them."""
        ...

    @property
    def chat_template(self) -> str | None:
        """The template's source, where the checkpoint has one."""
        ...

    def tokenizer(self) -> Tokenizer: ...

    def fill(self, model: Transformer) -> None:
        """Copy all weights into `model`, cast to its dtype."""
        ...

    def fingerprint(self) -> str:
        """64 hex digits that are equal for equal weights and tokenizer, wherever the files lie."""
        ...


def open_checkpoint(path: Path) -> Checkpoint:
    """Open a GGUF file or a safetensors folder.

    Raises:
        CheckpointError: the files are not a Llama checkpoint that can be read.
    """
    return GGUFCheckpoint(path) if path.is_file() else FolderCheckpoint(path)


class GGUFCheckpoint:
    """A model in one GGUF file."""

    def __init__(self, path: Path) -> None:
        self._file = GGUFFile(path)
        names = set(self._file.names())
        if "token_embd.weight" not in names:
            raise CheckpointError(f"{path} holds no token_embd.weight: it is no language model")
        self.config = LlamaConfig.from_gguf(
            self._file.metadata,
            vocab_size=self._file.shape("token_embd.weight")[0],
            tied="output.weight" not in names,
        )
        self.name = str(self._file.metadata.get("general.name", path.stem))
        divisors = "rope_freqs.weight"
        self.rope_divisors = self._file.tensor(divisors, torch.float32) if divisors in names else None
        template = self._file.metadata.get("tokenizer.chat_template")
        self.chat_template = template if isinstance(template, str) else None

    def tokenizer(self) -> Tokenizer:
        """Rebuilt from the metadata."""
        return tokenizer_from_gguf(self._file.metadata)

    def fill(self, model: Transformer) -> None:
        """Dequantise tensor by tensor into the model."""
        dtype = model.embed.weight.dtype
        fill(model, gguf_placements(self.config), lambda name: self._file.tensor(name, dtype))

    def fingerprint(self) -> str:
        """Of the header with tokenizer and tensor table, and of samples of the weights."""
        return _fingerprint([self._file.path], self._file.header_size)


class FolderCheckpoint:
    """A model in a folder in the Hugging Face layout."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        config = _json(folder / "config.json")
        if not config:
            raise CheckpointError(f"{folder} holds no config.json")
        self._tensors = SafetensorsFolder(folder)
        self.config = LlamaConfig.from_hf(config)
        self.name = str(config.get("_name_or_path") or folder.name)
        self.rope_divisors: Tensor | None = None
        self.chat_template = _template(folder)

    def tokenizer(self) -> Tokenizer:
        """From tokenizer.json."""
        return tokenizer_from_folder(self._folder)

    def fill(self, model: Transformer) -> None:
        """Copy tensor by tensor; the copy casts."""
        fill(model, hf_placements(self.config), self._tensors.tensor)

    def fingerprint(self) -> str:
        """Of config and tokenizer whole, and of samples of the weights."""
        small = [self._folder / name for name in ("config.json", "tokenizer.json")]
        return _fingerprint([*(path for path in small if path.is_file()), *self._tensors.files], 1 << 20)


def _json(path: Path) -> dict[str, Any]:
    """The object in a JSON file; empty where there is no file."""
    if not path.is_file():
        return {}
    try:
        value = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise CheckpointError(f"{path} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise CheckpointError(f"{path} holds no JSON object")
    return value


def _template(folder: Path) -> str | None:
    if (folder / "chat_template.jinja").is_file():
        return (folder / "chat_template.jinja").read_text("utf-8")
    template = _json(folder / "tokenizer_config.json").get("chat_template")
    if isinstance(template, list):
        named = {entry.get("name"): entry.get("template") for entry in template}
        template = named.get("default")
    return template if isinstance(template, str) else None


def _fingerprint(files: Iterable[Path], head: int, samples: int = 64, width: int = 4096) -> str:
    """Sizes, the first `head` bytes, and `samples` evenly spaced windows of `width` bytes of each file.

    Reading 16 GB to name it would take longer than the first answer. A fine-tuned model differs
    everywhere, so samples tell it apart; an edit of a few bytes between two windows goes unseen.
    """
    digest = hashlib.sha256()
    for path in files:
        size = path.stat().st_size
        digest.update(size.to_bytes(8, "little"))
        with path.open("rb") as file:
            digest.update(file.read(max(head, width)))
            for index in range(samples):
                file.seek(max(0, size - width) * index // (samples - 1))
                digest.update(file.read(width))
    return digest.hexdigest()
