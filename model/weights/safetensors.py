"""Reads the tensors of a safetensors folder: one file, or shards with an index."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from model.errors import CheckpointError

_SINGLE, _INDEX = "model.safetensors", "model.safetensors.index.json"


class SafetensorsFolder:
    """Tensors by name, read when they are asked for.

    Attributes:
        files: the weight files, sorted by name.
    """

    def __init__(self, folder: Path) -> None:
        """Open every file's header.

        Raises:
            CheckpointError: no weights, a shard is missing, or a file is damaged.
        """
        if (folder / _INDEX).is_file():
            shards = set(json.loads((folder / _INDEX).read_text("utf-8"))["weight_map"].values())
            # A shard is a plain name beside the index; a path would lead out of the folder.
            self.files = [folder / Path(shard).name for shard in sorted(shards)]
        elif (folder / _SINGLE).is_file():
            self.files = [folder / _SINGLE]
        else:
            raise CheckpointError(f"{folder} holds neither {_SINGLE} nor {_INDEX}")
        self._open: dict[str, Any] = {}
        for path in self.files:
            try:
                file: Any = safe_open(path, framework="pt")
                self._open.update(dict.fromkeys(file.keys(), file))
            except (OSError, SafetensorError) as error:
                raise CheckpointError(f"cannot read {path}: {error}") from error

    def __contains__(self, name: object) -> bool:
        return name in self._open

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a tensor, without reading it.

        Raises:
            KeyError: there is no tensor of this name.
        """
        return tuple(self._open[name].get_slice(name).get_shape())

    def tensor(self, name: str) -> Tensor:
        """One tensor in the dtype of the file.

        Raises:
            KeyError: there is no tensor of this name.
        """
        tensor: Tensor = self._open[name].get_tensor(name)
        return tensor
