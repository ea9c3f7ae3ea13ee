"""GGUF's block formats to float32.

Layouts: the `block_q*` structs in ggml's ggml-common.h. A block is a row of bytes; every function takes
[blocks, bytes] uint8 and returns [blocks, weights] float32.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Format:
    """One tensor type: `weights` values are stored in `size` bytes."""

    name: str
    weights: int
    size: int
    decode: Callable[[Bytes], Floats]


def _half(raw: Bytes) -> Floats:
    """[blocks, 2k] bytes as [blocks, k] float16 values, widened."""
    return np.ascontiguousarray(raw).view(np.float16).astype(np.float32)


def _nibbles(raw: Bytes) -> Bytes:
    """All low nibbles, then all high ones: [blocks, k] -> [blocks, 2k]."""
    return np.concatenate([raw & 0x0F, raw >> 4], axis=1)


def _f32(raw: Bytes) -> Floats:
    return np.ascontiguousarray(raw).view(np.float32)


def _bf16(raw: Bytes) -> Floats:
    wide = np.ascontiguousarray(raw).view(np.uint16).astype(np.uint32) << 16
    return wide.view(np.float32)


def _q8_0(raw: Bytes) -> Floats:
    """scale f16, 32 int8."""
    return _half(raw[:, :2]) * np.ascontiguousarray(raw[:, 2:]).view(np.int8)


def _q4_0(raw: Bytes) -> Floats:
    """scale f16, 32 nibbles around 8."""
    return _half(raw[:, :2]) * (_nibbles(raw[:, 2:]).astype(np.float32) - 8)


def _q4_1(raw: Bytes) -> Floats:
    """scale f16, minimum f16, 32 nibbles."""
    return _half(raw[:, :2]) * _nibbles(raw[:, 4:]) + _half(raw[:, 2:4])


def _q4_k(raw: Bytes) -> Floats:
    """Super-block of 8 × 32: scale f16, scale of minima f16, 8 six-bit pairs of both in 12 bytes, nibbles."""
    packed = raw[:, 4:16]
    low, high, top = packed[:, 0:4], packed[:, 4:8], packed[:, 8:12]
    scales = np.concatenate([low & 0x3F, (top & 0x0F) | ((low >> 6) << 4)], axis=1)
    minima = np.concatenate([high & 0x3F, (top >> 4) | ((high >> 6) << 4)], axis=1)
    scale = (_half(raw[:, 0:2]) * scales)[:, :, None]
    minimum = (_half(raw[:, 2:4]) * minima)[:, :, None]
    # Each run of 32 bytes holds two sub-blocks: one in the low nibbles, the next in the high ones.
    runs = raw[:, 16:].reshape(-1, 4, 1, 32)
    nibbles = np.concatenate([runs & 0x0F, runs >> 4], axis=2).reshape(-1, 8, 32)
    values: Floats = scale * nibbles - minimum
    return values.reshape(-1, 256)


def _q6_k(raw: Bytes) -> Floats:
    """Super-block of 16 × 16: 4 low bits, 2 high bits, 16 int8 scales, scale f16; values around 32."""
    low = raw[:, :128].reshape(-1, 2, 1, 64)
    low = np.concatenate([low & 0x0F, low >> 4], axis=2).reshape(-1, 2, 4, 32)
    high = raw[:, 128:192].reshape(-1, 2, 1, 32)
    high = np.concatenate([(high >> shift) & 0x03 for shift in (0, 2, 4, 6)], axis=2)
    values = (low | (high << 4)).astype(np.float32).reshape(-1, 16, 16) - 32
    scales = np.ascontiguousarray(raw[:, 192:208]).view(np.int8) * _half(raw[:, 208:210])
    return (values * scales[:, :, None]).reshape(-1, 256)


FORMATS = {
    0: Format("F32", 1, 4, _f32),
    1: Format("F16", 1, 2, _half),
    2: Format("Q4_0", 32, 18, _q4_0),
    3: Format("Q4_1", 32, 20, _q4_1),
    8: Format("Q8_0", 32, 34, _q8_0),
    12: Format("Q4_K", 256, 144, _q4_k),
    14: Format("Q6_K", 256, 210, _q6_k),
    30: Format("BF16", 1, 2, _bf16),
}
"""By the type number of the GGUF file."""
