"""One model on disk, whatever its format: configuration, weights, tokenizer, chat template, identity."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from model.errors import CheckpointError
from model.llama.config import LlamaConfig
from model.llama.transformer import Transformer
from model.native import available
from model.quant.packed import keep_packed
from model.quant.stored import StoredRows
from model.text.tokenizer import Tokenizer
from model.text.vocabulary import tokenizer_from_folder, tokenizer_from_gguf
from model.weights.files import fingerprint, folder_name, json_object
from model.weights.gguf import GGUFFile
from model.weights.mapping import Sources, gguf_placements, hf_placements
from model.weights.meta import MetaCheckpoint
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

    def prepare(self, model: Transformer, device: torch.device, *, packed: bool = False) -> None:
        """Give `model`, still on the meta device, the layers that hold the weights as they are stored.

        Args:
            packed: whether matrices of few bits may stay so where that is faster.
        """
        ...

    def sources(self, model: Transformer | None = None) -> Sources:
        """All weights and where they go: dense, or as the layers of a model want them that `prepare` saw.

        Weights that `prepare` has put there already are left out.
        """
        ...

    def fingerprint(self) -> str:
        """64 hex digits that are equal for equal weights and tokenizer, wherever the files lie."""
        ...


def open_checkpoint(path: Path) -> Checkpoint:
    """Open a GGUF file, a safetensors folder, or a folder in Meta's layout.

    Raises:
        CheckpointError: the files are not a Llama checkpoint that can be read.
    """
    if path.is_file():
        return GGUFCheckpoint(path)
    if any(path.glob("*.safetensors")) or any(path.glob("*.safetensors.index.json")):
        return FolderCheckpoint(path)
    # Meta's repositories on the hub keep their own files in a folder `original`.
    for folder in (path, path / "original"):
        if (folder / "params.json").is_file():
            return MetaCheckpoint(folder)
    return FolderCheckpoint(path)


_FIRST_KEYS = "model.layers.0.self_attn.k_proj.weight"


class GGUFCheckpoint:
    """A model in one GGUF file."""

    def __init__(self, path: Path) -> None:
        self._file = GGUFFile(path)
        self._packed: set[str] = set()
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

    def prepare(self, model: Transformer, device: torch.device, *, packed: bool = False) -> None:
        """Leave quantised layers packed where that is wanted and this processor has the kernels."""
        if packed and device.type == "cpu" and available():
            self._packed = keep_packed(model, self._file, gguf_placements(self.config))

    def sources(self, model: Transformer | None = None) -> Sources:
        """Tensors dequantised to float32, or to the dtype of `model`."""
        dtype = torch.float32 if model is None else model.norm.weight.dtype
        gone = set() if model is None else self._packed
        placements = {
            name: place for name, place in gguf_placements(self.config).items() if place.parameter not in gone
        }
        return placements, lambda name: self._file.tensor(name, dtype)

    def fingerprint(self) -> str:
        """Of the header with tokenizer and tensor table, and of samples of the weights."""
        return fingerprint([self._file.path], self._file.header_size)


class FolderCheckpoint:
    """A model in a folder in the Hugging Face layout."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        config = json_object(folder / "config.json")
        if not config:
            raise CheckpointError(f"{folder} holds no config.json (Hugging Face) and no params.json (Meta)")
        self._tensors = SafetensorsFolder(folder)
        self.config = LlamaConfig.from_hf(config)
        if _FIRST_KEYS in self._tensors:
            self.config = self.config.with_kv_rows(self._tensors.shape(_FIRST_KEYS)[0])
        self._rows = StoredRows(
            config, hf_placements(self.config), self._tensors.__contains__, self._tensors.tensor
        )
        self.name = str(config.get("_name_or_path") or folder_name(folder))
        self.rope_divisors: Tensor | None = None
        self.chat_template = _template(folder)

    def tokenizer(self) -> Tokenizer:
        """From tokenizer.json."""
        return tokenizer_from_folder(self._folder)

    def prepare(self, model: Transformer, device: torch.device, *, packed: bool = False) -> None:  # noqa: ARG002
        """FP8 layers where the files hold e4m3 matrices with scales."""
        self._rows.prepare(model, device)

    def sources(self, model: Transformer | None = None) -> Sources:
        """Tensors in the dtype of the files, float32 for those with scales that no layer of `model` holds."""
        if model is None:
            return self._rows.dense()
        return self._rows.placements(model), self._rows.reader(model)

    def fingerprint(self) -> str:
        """Of config and tokenizer whole, and of samples of the weights."""
        small = [self._folder / name for name in ("config.json", "tokenizer.json")]
        return fingerprint([*(path for path in small if path.is_file()), *self._tensors.files], 1 << 20)


def _template(folder: Path) -> str | None:
    if (folder / "chat_template.jinja").is_file():
        return (folder / "chat_template.jinja").read_text("utf-8")
    template = json_object(folder / "tokenizer_config.json").get("chat_template")
    if isinstance(template, list):
        named = {entry.get("name"): entry.get("template") for entry in template}
        template = named.get("default")
    return template if isinstance(template, str) else None
