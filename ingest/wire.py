"""How the parsing child sends pages to its parent: typed, length-prefixed, bounded frames; never pickle.

A frame is one type byte, a little-endian u32 length, and the payload:

- `H` header: JSON `{"media_type", "title", "pages_total"}`
- `T` text: UTF-8, a part of the current page
- `B` blocks of the current page: records of kind u8, level u8, start u32, end u32 (code points)
- `P` the page is complete
- `D` a page that was drawn or looked through: JSON `{"width", "height", "boxes"}`, in place of `H`
- `I` a part of its picture
- `O` from here on pictures are read, which takes longer; at any place
- `E` the parse failed: JSON `{"code", "detail"}`
- `Z` the document is complete
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO

from ingest.parsers.base import BLOCK_KINDS, Block, ParsedPage

MAX_FRAME = 1 << 20
MAX_BOXES = 4000
"""Of one page: a line of text has one."""
_PREFIX = struct.Struct("<cI")
_BLOCK = struct.Struct("<BBII")
_TEXT_PART = MAX_FRAME // 4
_BLOCK_PART = MAX_FRAME // _BLOCK.size


class WireError(ValueError):
    """The child sent something that is not of this format."""


class FrameWriter:
    """Writes frames to the pipe."""

    def __init__(self, pipe: BinaryIO) -> None:
        self._pipe = pipe

    def _frame(self, kind: bytes, payload: bytes = b"") -> None:
        self._pipe.write(_PREFIX.pack(kind, len(payload)) + payload)

    def header(self, media_type: str, title: str | None, pages_total: int | None) -> None:
        """The first frame of a document."""
        body = {
            "media_type": media_type,
            "title": _storable(title) if title else None,
            "pages_total": pages_total,
        }
        self._frame(b"H", json.dumps(body).encode())

    def page(self, page: ParsedPage) -> None:
        """One page: its text, its blocks, its end."""
        text = _storable(page.text)
        for start in range(0, len(text), _TEXT_PART):
            self._frame(b"T", text[start : start + _TEXT_PART].encode())
        for start in range(0, len(page.blocks), _BLOCK_PART):
            part = page.blocks[start : start + _BLOCK_PART]
            records = (
                _BLOCK.pack(BLOCK_KINDS.index(b.kind), min(b.level, 255), b.start, b.end) for b in part
            )
            self._frame(b"B", b"".join(records))
        self._frame(b"P")
        self._pipe.flush()

    def drawn(self, width: int, height: int, boxes: Sequence[Sequence[float]], picture: bytes) -> None:
        """A page: its size, boxes on it as left, top, right and bottom, and its picture in parts."""
        body = {"width": width, "height": height, "boxes": [list(box) for box in boxes[:MAX_BOXES]]}
        self._frame(b"D", json.dumps(body).encode())
        for start in range(0, len(picture), MAX_FRAME):
            self._frame(b"I", picture[start : start + MAX_FRAME])

    def pictures(self) -> None:
        """From here on pictures are read."""
        self._frame(b"O")
        self._pipe.flush()

    def error(self, code: str, detail: str) -> None:
        """The last frame of a parse that failed."""
        self._frame(b"E", json.dumps({"code": code, "detail": detail[:2000]}).encode())
        self._pipe.flush()

    def end(self) -> None:
        """The last frame of a document."""
        self._frame(b"Z")
        self._pipe.flush()


def _storable(text: str) -> str:
    """Neither database nor UTF-8 takes NUL or lone surrogates; one code point each, so offsets stay."""
    if "\x00" in text:
        text = text.replace("\x00", "\ufffd")
    try:
        text.encode()
    except UnicodeEncodeError:
        return "".join("\ufffd" if 0xD800 <= ord(c) < 0xE000 else c for c in text)
    return text


class FrameReader:
    """Takes bytes as they come and gives whole frames; raises WireError at the first that is malformed."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[tuple[str, bytes]]:
        """The frames that are complete with `data`: (type, payload)."""
        self._buffer += data
        position = 0
        while len(self._buffer) - position >= _PREFIX.size:
            kind, length = _PREFIX.unpack_from(self._buffer, position)
            if kind not in b"HTBPDIOEZ" or length > MAX_FRAME:
                raise WireError(f"frame of type {kind!r} and {length} bytes")
            if len(self._buffer) - position - _PREFIX.size < length:
                break
            start = position + _PREFIX.size
            payload = bytes(self._buffer[start : start + length])
            position = start + length
            yield kind.decode("ascii"), payload
        del self._buffer[:position]


def read_blocks(payload: bytes) -> list[Block]:
    """The blocks of a `B` frame. Raises WireError."""
    if len(payload) % _BLOCK.size:
        raise WireError(f"{len(payload)} bytes are no whole number of blocks")
    blocks: list[Block] = []
    for kind, level, start, end in _BLOCK.iter_unpack(payload):
        if kind >= len(BLOCK_KINDS):
            raise WireError(f"unknown kind of block {kind}")
        blocks.append(Block(BLOCK_KINDS[kind], start, end, level))
    return blocks


def read_json(payload: bytes) -> dict[str, Any]:
    """The object of an `H` or `E` frame. Raises WireError."""
    try:
        value = json.loads(payload)
    except (ValueError, RecursionError) as error:
        raise WireError(f"payload is no JSON: {error}") from error
    if not isinstance(value, dict):
        raise WireError("payload is no JSON object")
    return value
