"""Reads GGUF files (versions 2 and 3, little endian): metadata, and tensors as float.

Format: docs/gguf.md of ggml. The file is memory-mapped and trusted in nothing: every length is checked
against the end of the file before it is used.
"""

from __future__ import annotations

import math
import mmap
import struct
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from model.errors import CheckpointError
from model.weights.dequantize import FORMATS, Format

_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
_SLAB = 1 << 24
"""Weights that are decoded at once; bounds the float32 copy to 64 MiB."""


@dataclass(frozen=True)
class _Entry:
    shape: tuple[int, ...]
    format: Format
    offset: int


class GGUFFile:
    """One open GGUF file.

    Attributes:
        metadata: every key of the header; arrays are lists.
    """

    def __init__(self, path: Path) -> None:
        """Parse the header.

        Raises:
            CheckpointError: not GGUF, truncated, or a tensor of a type that is not implemented.
        """
        self.path = path
        try:
            with path.open("rb") as file:
                self._bytes = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except (OSError, ValueError) as error:
            raise CheckpointError(f"cannot read {path}: {error}") from error
        reader = _Reader(self._bytes, path)
        if reader.take(4) != b"GGUF":
            raise CheckpointError(f"{path} is not a GGUF file")
        version = reader.scalar("I")
        if version not in (2, 3):
            raise CheckpointError(f"{path} has GGUF version {version}; 2 and 3 are read")
        tensors, keys = reader.scalar("Q"), reader.scalar("Q")
        self.metadata: dict[str, Any] = {}
        for _ in range(keys):
            key = reader.string()
            self.metadata[key] = reader.value(reader.scalar("I"))
        self._entries = dict(self._read_entry(reader) for _ in range(tensors))
        alignment = int(self.metadata.get("general.alignment", 32))
        if alignment < 1:
            raise CheckpointError(f"{path} has an alignment of {alignment}")
        self.header_size = reader.position
        self._data = -(-reader.position // alignment) * alignment
        for name, entry in self._entries.items():
            size = math.prod(entry.shape) // entry.format.weights * entry.format.size
            if self._data + entry.offset + size > len(self._bytes):
                raise CheckpointError(f"{path} ends before its tensor {name}: the file is truncated")

    def _read_entry(self, reader: _Reader) -> tuple[str, _Entry]:
        name = reader.string()
        shape = tuple(reader.scalar("Q") for _ in range(reader.scalar("I")))[::-1]
        kind, offset = reader.scalar("I"), reader.scalar("Q")
        if kind not in FORMATS:
            known = ", ".join(form.name for form in FORMATS.values())
            raise CheckpointError(
                f"tensor {name} of {self.path} has type number {kind}; these are read: {known}"
            )
        if not shape or shape[-1] % FORMATS[kind].weights:
            raise CheckpointError(f"tensor {name} of {self.path} has shape {shape}, no rows of whole blocks")
        return name, _Entry(shape, FORMATS[kind], offset)

    def names(self) -> Iterator[str]:
        """Names of all tensors, in the order of the file."""
        return iter(self._entries)

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a tensor, outermost axis first as in torch."""
        return self._entries[name].shape

    def form(self, name: str) -> str:
        """GGUF's name of a tensor's type, such as "Q4_K"."""
        return self._entries[name].format.name

    def raw(self, name: str) -> Tensor:
        """The bytes of a matrix as they are in the file, a view: uint8 [rows, bytes of a row]."""
        entry = self._entries[name]
        size = math.prod(entry.shape) // entry.format.weights * entry.format.size
        flat = np.frombuffer(self._bytes, np.uint8, size, self._data + entry.offset)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that it must not be written to
            return torch.from_numpy(flat).view(entry.shape[0], -1)

    def tensor(self, name: str, dtype: torch.dtype) -> Tensor:
        """Decode one tensor; `dtype` is that of the result, the arithmetic is float32."""
        entry = self._entries[name]
        form = entry.format
        count = math.prod(entry.shape)
        raw = np.frombuffer(
            self._bytes, np.uint8, count // form.weights * form.size, self._data + entry.offset
        ).reshape(-1, form.size)
        out = torch.empty(count, dtype=dtype)
        step = _SLAB // form.weights
        for first in range(0, len(raw), step):
            values = torch.from_numpy(form.decode(raw[first : first + step]).reshape(-1).copy())
            begin = first * form.weights
            out[begin : begin + len(values)] = values
        return out.view(entry.shape)


class _Reader:
    """A cursor over the header."""

    def __init__(self, data: mmap.mmap, path: Path) -> None:
        self._data, self._path, self.position = data, path, 0

    def take(self, size: int) -> bytes:
        end = self.position + size
        if end > len(self._data):
            raise CheckpointError(f"{self._path} ends inside its header: the file is truncated")
        piece = self._data[self.position : end]
        self.position = end
        return piece

    def scalar(self, code: str) -> Any:
        return struct.unpack(f"<{code}", self.take(struct.calcsize(f"<{code}")))[0]

    def string(self) -> str:
        return self.take(self.scalar("Q")).decode("utf-8", "surrogateescape")

    def value(self, kind: int) -> Any:
        if kind in _SCALARS:
            return self.scalar(_SCALARS[kind])
        if kind == _STRING:
            return self.string()
        if kind != _ARRAY:
            raise CheckpointError(f"{self._path} has a metadata value of unknown type {kind}")
        item, count = self.scalar("I"), self.scalar("Q")
        if item in _SCALARS:
            code = _SCALARS[item]
            return list(struct.unpack(f"<{count}{code}", self.take(count * struct.calcsize(f"<{code}"))))
        if item == _STRING:
            return self._strings(count)
        return [self.value(item) for _ in range(count)]

    def _strings(self, count: int) -> list[str]:
        """As many strings, without a call for each of their parts: a vocabulary has a hundred thousand."""
        data, position, end = self._data, self.position, len(self._data)
        length_at, found = struct.Struct("<Q").unpack_from, []
        for _ in range(count):
            begin = position + 8
            position = begin + length_at(data, position)[0] if begin <= end else begin
            if position > end:
                self.position = position
                self.take(1)  # says that the file is truncated
            found.append(data[begin:position].decode("utf-8", "surrogateescape"))
        self.position = position
        return found
