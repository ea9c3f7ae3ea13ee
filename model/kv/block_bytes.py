"""A KV block as bytes, for places other than files: the beginning of a block's file, without its tags.

head | payload | SHA-256 of both
"""

from __future__ import annotations

import hashlib
import json
import math
import struct

import torch
from torch import Tensor

from model.kv.block_file import DTYPES, PREAMBLE, BlockFileError, head_bytes, memory_of

_DIGEST = 32


def pack(key: bytes, fingerprint: bytes, tensor: Tensor) -> bytes:
    """The bytes of block `key` of an engine; `tensor` is contiguous, on the CPU."""
    content = head_bytes(key, fingerprint, tensor) + memory_of(tensor)
    return content + hashlib.sha256(content).digest()


def unpack(content: bytes, key: bytes, fingerprint: bytes) -> Tensor:
    """The tensor that `pack` was given.

    Raises:
        BlockFileError: not this block of this engine, or not as it was packed.
    """
    try:
        start = PREAMBLE.size + PREAMBLE.unpack_from(content)[2]
        header = json.loads(content[PREAMBLE.size : start])
        dtype, shape = DTYPES[header["dtype"]], tuple(header["shape"])
        if not all(type(n) is int and n > 0 for n in shape):
            raise BlockFileError("a shape that cannot be")
        if start + math.prod(shape) * dtype.itemsize + _DIGEST != len(content):
            raise BlockFileError("another length")
    except (struct.error, ValueError, KeyError, TypeError, RecursionError) as error:
        raise BlockFileError(str(error)) from error
    if hashlib.sha256(memoryview(content)[:-_DIGEST]).digest() != content[-_DIGEST:]:
        raise BlockFileError("not as it was packed")
    tensor = torch.empty(shape, dtype=dtype)
    memory_of(tensor)[:] = memoryview(content)[start:-_DIGEST]
    if head_bytes(key, fingerprint, tensor) != content[:start]:
        raise BlockFileError("another block")
    return tensor
