"""GGUF's quantised blocks to codes and scales, without making floats of them.

Layouts as in `model.weights.dequantize`; q4_0 becomes q4 with a minimum of -8 scales, exact
in float16.
"""

from __future__ import annotations

import torch
from torch import Tensor

from model.native.matrix import Codes

KINDS = {"Q4_0": "q4", "Q4_1": "q4", "Q8_0": "q8", "Q4_K": "q4_k", "Q6_K": "q6_k"}
"""GGUF's types that stay packed, and the kernels' kind of matrix."""

_BYTES = {"Q4_0": 18, "Q4_1": 20, "Q8_0": 34, "Q4_K": 144, "Q6_K": 210}


def codes(form: str, raw: Tensor) -> Codes:
    """Split rows of blocks.

    Args:
        raw: uint8 [rows, bytes of a row].

    Raises:
        KeyError: a type that is not in `KINDS`.
    """
    blocks = raw.view(raw.shape[0], -1, _BYTES[form])
    rows = len(raw)
    match form:
        case "Q4_0":
            scales = _half(blocks[..., :2])
            both = torch.cat([scales, scales * -8], dim=2)
            return Codes("q4", _nibbles(blocks[..., 2:]).view(rows, -1), both)
        case "Q4_1":
            return Codes("q4", _nibbles(blocks[..., 4:]).view(rows, -1), _half(blocks[..., :4]))
        case "Q8_0":
            values = blocks[..., 2:].reshape(rows, -1).view(torch.int8)
            return Codes("q8", values, _half(blocks[..., :2]))
        case "Q4_K":
            low, high, top = blocks[..., 4:8], blocks[..., 8:12], blocks[..., 12:16]
            scales = torch.cat([low & 0x3F, (top & 0x0F) | ((low >> 6) << 4)], dim=2)
            minima = torch.cat([high & 0x3F, (top >> 4) | ((high >> 6) << 4)], dim=2)
            pairs = torch.stack([scales, minima], dim=3).view(rows, -1, 2)
            runs = blocks[..., 16:].reshape(rows, -1, 32)
            return Codes("q4_k", _nibbles(runs).view(rows, -1), pairs, _half(blocks[..., :4]))
        case _:
            low = _nibbles(blocks[..., :128].reshape(rows, -1, 64)).view(rows, -1, 2, 4, 32)
            high = blocks[..., 128:192].reshape(rows, -1, 2, 1, 32)
            high = torch.cat([(high >> shift) & 0x03 for shift in (0, 2, 4, 6)], dim=3)
            values = (low | (high << 4)).to(torch.int8) - 32
            scales = blocks[..., 192:208].reshape(rows, -1, 1).view(torch.int8)
            return Codes("q6_k", values.view(rows, -1), scales, _half(blocks[..., 208:210]))


def _half(raw: Tensor) -> Tensor:
    return raw.contiguous().view(torch.float16)


def _nibbles(raw: Tensor) -> Tensor:
    """All low nibbles, then all high ones: [..., k] -> [..., 2k]."""
    run = raw.shape[-1]
    out = raw.new_empty(*raw.shape[:-1], 2 * run)
    torch.bitwise_and(raw, 0x0F, out=out[..., :run])
    torch.bitwise_right_shift(raw, 4, out=out[..., run:])
    return out
