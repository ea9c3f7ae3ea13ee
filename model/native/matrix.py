"""Weight matrices in the order in which the kernels read them: 16 rows side by side, one in each lane.

Codes stay what the file says, so that a packed matrix stands for exactly the same real numbers. The layouts
are written down in `src/matrix.h`.
"""

from __future__ import annotations

import contextlib
import ctypes
import mmap
from dataclasses import dataclass, field

import torch
from torch import Tensor

TILE = 16
KINDS = ("q4", "q4_k", "q8", "q6_k", "bf16", "f32")
"""Names of the enum `format` in matrix.h, in its order."""


class Header(ctypes.Structure):
    """`matrix` of matrix.h."""

    _fields_ = (
        ("format", ctypes.c_int64),
        ("rows", ctypes.c_int64),
        ("cols", ctypes.c_int64),
        ("codes", ctypes.c_void_p),
        ("scales", ctypes.c_void_p),
        ("supers", ctypes.c_void_p),
    )


@dataclass(frozen=True)
class Codes:
    """A quantised matrix before packing: w = scale · code + minimum for each group of columns.

    Attributes:
        kind: "q4", "q4_k", "q8" or "q6_k".
        values: uint8 (four bits) or int8 [rows, cols].
        scales: [rows, groups, parts]: float16 (scale, minimum) for q4 and (scale,) for q8; uint8
            (scale, minimum) for q4_k and int8 (scale,) for q6_k, which `supers` multiplies.
        supers: float16 [rows, cols / 256, parts], or None.
    """

    kind: str
    values: Tensor
    scales: Tensor
    supers: Tensor | None = None


@dataclass(frozen=True)
class Matrix:
    """A packed matrix [rows, cols]; `header` points into the tensors."""

    kind: str
    rows: int
    cols: int
    codes: Tensor
    scales: Tensor
    supers: Tensor | None
    header: Header = field(init=False, repr=False)
    address: int = field(init=False, repr=False)

    def __post_init__(self) -> None:
        supers = 0 if self.supers is None else self.supers.data_ptr()
        header = Header(
            KINDS.index(self.kind),
            self.rows,
            self.cols,
            self.codes.data_ptr(),
            self.scales.data_ptr(),
            supers,
        )
        object.__setattr__(self, "header", header)
        object.__setattr__(self, "address", ctypes.addressof(header))

    @property
    def nbytes(self) -> int:
        """Bytes of weights and scales."""
        return sum(t.nbytes for t in (self.codes, self.scales, self.supers) if t is not None)


def packs(cols: int, kind: str) -> bool:
    """Whether rows of `cols` columns fill whole groups of this kind."""
    return cols % (256 if kind.endswith("_k") else 32) == 0


def pack(codes: Codes, arena: Arena | None = None) -> Matrix:
    """Bring a quantised matrix into the kernels' order; rows are filled up to a multiple of 16 with zeros.

    Args:
        arena: where the weights are put; torch's own memory where it is None.
    """
    rows, cols = codes.values.shape
    if codes.kind.startswith("q4"):
        # A word of 32 bits holds 8 columns, 2j and 2j + 1 in its nibbles j and 4 + j.
        columns = codes.values.view(rows, cols // 8, 8)
        words = columns.new_empty(rows, cols // 8, 4)
        for place, (low, high) in enumerate(((0, 2), (4, 6), (1, 3), (5, 7))):
            torch.bitwise_or(columns[:, :, low], columns[:, :, high] << 4, out=words[:, :, place])
    else:
        words = codes.values.contiguous().view(torch.uint8).view(rows, cols // 4, 4)
    put = (arena or Arena()).place
    # whole words are moved, which is several times quicker than their bytes
    whole = put(_tiles(words.view(torch.int32).squeeze(2)).transpose(1, 2))
    return Matrix(
        codes.kind,
        rows,
        cols,
        whole.view(torch.uint8).view(*whole.shape, 4),
        put(_tiles(codes.scales).permute(0, 2, 3, 1)),
        None if codes.supers is None else put(_tiles(codes.supers).permute(0, 2, 3, 1)),
    )


def dense(weight: Tensor) -> Matrix:
    """A view of an ordinary float32 or bfloat16 matrix [rows, cols] as the kernels take it."""
    kind = "f32" if weight.dtype == torch.float32 else "bf16"
    return Matrix(kind, weight.shape[0], weight.shape[1], weight.detach(), weight.detach(), None)


def quantise(weight: Tensor) -> Codes:
    """Eight bits: each 32 weights of a row are divided by their largest magnitude / 127 and rounded.

    Args:
        weight: [rows, cols], cols a multiple of 32.
    """
    rows, cols = weight.shape
    groups = weight.float().view(rows, cols // 32, 32)
    scales = (groups.abs().amax(dim=2, keepdim=True) / 127).half()
    inverse = torch.where(scales > 0, 1 / scales.float(), 0.0)
    values = (groups * inverse).round_().clamp_(-127, 127).to(torch.int8)
    return Codes("q8", values.view(rows, cols), scales)


def floats(codes: Codes) -> Tensor:
    """The real numbers [rows, cols] that a quantised matrix stands for, float32: the kernels' yardstick."""
    rows, cols = codes.values.shape
    scales = codes.scales.float()
    if codes.supers is not None:
        scales = scales * codes.supers.float().repeat_interleave(scales.shape[1] * 256 // cols, dim=1)
    values = codes.values.float().view(rows, scales.shape[1], -1) * scales[:, :, :1]
    if scales.shape[2] == 2:
        values += scales[:, :, 1:] if codes.kind == "q4" else -scales[:, :, 1:]
    return values.view(rows, cols)


class Arena:
    """Memory in pages of 2 MB where the system has them: weights are read from end to end for every token."""

    _CHUNK, _ALIGNMENT = 1 << 26, 64

    def __init__(self) -> None:
        self._chunk = torch.empty(0, dtype=torch.uint8)

    def place(self, tensor: Tensor) -> Tensor:
        """A contiguous copy."""
        size = tensor.numel() * tensor.element_size()
        if size > len(self._chunk):
            self._chunk = self._pages(max(size, self._CHUNK))
        own = self._chunk[:size].view(tensor.dtype).view(tensor.shape)
        self._chunk = self._chunk[-(-size // self._ALIGNMENT) * self._ALIGNMENT :]
        return own.copy_(tensor)

    def _pages(self, size: int) -> Tensor:
        pages = mmap.mmap(-1, -(-size // self._ALIGNMENT) * self._ALIGNMENT)
        if hasattr(mmap, "MADV_HUGEPAGE"):
            with contextlib.suppress(OSError):  # a kernel without them
                pages.madvise(mmap.MADV_HUGEPAGE)
        return torch.frombuffer(pages, dtype=torch.uint8)


def _tiles(tensor: Tensor) -> Tensor:
    """[rows, ...] -> [tiles, 16, ...]."""
    missing = -tensor.shape[0] % TILE
    if missing:
        tensor = torch.cat([tensor, tensor.new_zeros(missing, *tensor.shape[1:])])
    return tensor.view(-1, TILE, *tensor.shape[1:])
