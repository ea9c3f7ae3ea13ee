"""The file of one KV block: how its bytes lie, how they are checked.

    magic 8 | version u16 | header length u32 | header: JSON | payload | SHA-256 of all before
    then any number of tag records: length u32 | JSON list of tags | SHA-256 of block hash and list

Numbers are little-endian; the payload is the tensor's memory. The header names the block's hash, the
fingerprint, dtype and shape: a file under a wrong name, of another model or of another length is known
without reading its payload. Tags come last because some are added later; each record has its own digest.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import stat
import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

_MAGIC = b"LLKV\r\n\x1a\n"
_VERSION = 1
PREAMBLE = struct.Struct("<8sHI")
_LENGTH = struct.Struct("<I")
_DIGEST = 32
_MOST_HEADER, _MOST_TAGS = 4096, 1 << 24
_STEP = 1 << 20
"""Bytes read or written, and hashed, at a time: they stay in the processor's cache between the two."""

DTYPES = {
    str(dtype).removeprefix("torch."): dtype
    for dtype in (
        torch.bfloat16,
        torch.float16,
        torch.float32,
        torch.int8,
        torch.uint8,
        torch.float8_e4m3fn,
        torch.float8_e5m2,
    )
}


class BlockFileError(Exception):
    """The file is damaged, cut short, or not the block that its name says; never leaves this package."""


class Cancelled(Exception):
    """A write was given up because nobody wants the block any more."""


@dataclass(frozen=True)
class BlockHead:
    """What a file says of itself.

    Attributes:
        fingerprint: of the engine that wrote it.
        tags: of all records.
        size: bytes of the file.
        start: offset of the payload.
        length: bytes of the payload.
    """

    hash: bytes
    fingerprint: bytes
    dtype: torch.dtype
    shape: tuple[int, ...]
    tags: frozenset[str]
    size: int
    start: int
    length: int


def supported(dtype: torch.dtype) -> bool:
    """Whether blocks of this dtype can be kept in files."""
    return dtype in DTYPES.values()


def file_size(head: bytes, tensor: Tensor, record: bytes) -> int:
    """Bytes of the file that `write_block` makes of the same arguments."""
    return len(head) + tensor.nbytes + _DIGEST + len(record)


def tag_record(key: bytes, tags: Iterable[str]) -> bytes:
    """The bytes that, appended to the file of block `key`, add `tags` to it."""
    listed = json.dumps(sorted(tags)).encode()
    return _LENGTH.pack(len(listed)) + listed + hashlib.sha256(key + listed).digest()


def head_bytes(key: bytes, fingerprint: bytes, tensor: Tensor) -> bytes:
    """Everything before the payload."""
    header = json.dumps(
        {
            "hash": key.hex(),
            "fingerprint": fingerprint.hex(),
            "dtype": str(tensor.dtype).removeprefix("torch."),
            "shape": list(tensor.shape),
        }
    ).encode()
    return PREAMBLE.pack(_MAGIC, _VERSION, len(header)) + header


def write_block(
    handle: int, head: bytes, tensor: Tensor, record: bytes, cancelled: Callable[[], bool]
) -> None:
    """Write a whole file.

    Args:
        handle: an empty file, open for writing.
        head: from `head_bytes`.
        tensor: contiguous, on the CPU.
        record: from `tag_record`.
        cancelled: asked about every megabyte.

    Raises:
        Cancelled: `cancelled` said so; the file is incomplete.
        OSError: the file system refused.
    """
    digest = hashlib.sha256(head)
    _write(handle, memoryview(head))
    payload = memory_of(tensor)
    for begin in range(0, len(payload), _STEP):
        if cancelled():
            raise Cancelled
        part = payload[begin : begin + _STEP]
        digest.update(part)
        _write(handle, part)
    _write(handle, memoryview(digest.digest() + record))


def read_block(path: Path, key: bytes, fingerprint: bytes) -> Tensor:
    """The tensor of block `key`, checked.

    Raises:
        BlockFileError: not this block of this engine, or not as it was written.
        OSError: the file system refused.
    """
    handle = _open(path)
    try:
        head, raw = _read_head(handle)
        if head.hash != key or head.fingerprint != fingerprint:
            raise BlockFileError(f"{path.name} holds another block")
        tensor = torch.empty(head.shape, dtype=head.dtype)
        payload = memory_of(tensor)
        digest = hashlib.sha256(raw)
        for begin in range(0, head.length, _STEP):
            part = payload[begin : begin + _STEP]
            if os.preadv(handle, [part], head.start + begin) != len(part):
                raise BlockFileError(f"{path.name} is cut short")
            digest.update(part)
        if os.pread(handle, _DIGEST, head.start + head.length) != digest.digest():
            raise BlockFileError(f"{path.name} is not as it was written")
        return tensor
    finally:
        os.close(handle)


def read_head(path: Path) -> BlockHead:
    """What the file says of itself, tags included; the payload is not read and not checked.

    Raises:
        BlockFileError: cut short, of another format, or with a damaged header or tag.
        OSError: the file system refused.
    """
    handle = _open(path)
    try:
        return _read_head(handle)[0]
    finally:
        os.close(handle)


def memory_of(tensor: Tensor) -> memoryview:
    """The bytes of a contiguous CPU tensor, without a copy."""
    return tensor.reshape(-1).view(torch.uint8).numpy().data


def _open(path: Path) -> int:
    # Neither a link nor a pipe that somebody put under one of our names may be followed or waited for.
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise BlockFileError(f"{path.name} is not a regular file")
    return handle


def _read_head(handle: int) -> tuple[BlockHead, bytes]:
    size = os.fstat(handle).st_size
    raw = os.pread(handle, PREAMBLE.size + _MOST_HEADER, 0)
    try:
        magic, version, length = PREAMBLE.unpack_from(raw)
        if magic != _MAGIC or version != _VERSION or length > _MOST_HEADER:
            raise BlockFileError("another format")
        start = PREAMBLE.size + length
        header = json.loads(raw[PREAMBLE.size : start])
        key, fingerprint = bytes.fromhex(header["hash"]), bytes.fromhex(header["fingerprint"])
        dtype, shape = DTYPES[header["dtype"]], tuple(header["shape"])
        if not all(type(n) is int and n > 0 for n in shape):
            raise BlockFileError("a shape that cannot be")
        payload = math.prod(shape) * dtype.itemsize
        # Before anything of this length is allocated or read.
        if start + payload + _DIGEST > size:
            raise BlockFileError("cut short")
        tags = _read_tags(handle, key, start + payload + _DIGEST, size)
    except (struct.error, ValueError, KeyError, TypeError, RecursionError) as error:
        raise BlockFileError(str(error)) from error
    return BlockHead(key, fingerprint, dtype, shape, tags, size, start, payload), raw[:start]


def _read_tags(handle: int, key: bytes, start: int, end: int) -> frozenset[str]:
    if end - start > _MOST_TAGS:
        raise BlockFileError("more tags than can be")
    raw, at = os.pread(handle, end - start, start), 0
    tags: set[str] = set()
    while at < len(raw):
        (length,) = _LENGTH.unpack_from(raw, at)
        listed = raw[at + _LENGTH.size : at + _LENGTH.size + length]
        at += _LENGTH.size + length + _DIGEST
        if hashlib.sha256(key + listed).digest() != raw[at - _DIGEST : at]:
            raise BlockFileError("a damaged tag")
        tags.update(map(str, json.loads(listed)))
    return frozenset(tags)


def _write(handle: int, data: memoryview) -> None:
    while data:
        data = data[os.write(handle, data) :]
