"""Sending a file by the tus protocol: in pieces, and on from where a broken connection left it."""

from __future__ import annotations

import base64
import io
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO, Literal, TypeAlias

from longleaf import types
from longleaf.errors import ApiError, LongleafError, Unreachable
from longleaf.operations import reading
from longleaf.steps import Call, Piece, Steps, ask

File: TypeAlias = str | os.PathLike[str] | bytes | BinaryIO
"""A path, bytes, or a file that is open for reading bytes and can be sought."""
OnDuplicate = Literal["refuse", "reuse"]
Sent: TypeAlias = Callable[[int, int], None]
"""Called with the bytes that have arrived, and those of the whole file."""

PIECE_BYTES = 8 * 1024 * 1024
"""Of one request: what a broken connection costs at most, and what the client holds in memory."""
_TUS = {"Tus-Resumable": "1.0.0"}
_CONTENT = {"Content-Type": "application/offset+octet-stream"}
_TROUBLES = 8
"""Broken requests in a row after which nothing more is tried."""


def opened(file: File, filename: str | None) -> tuple[BinaryIO, str]:
    """The file to read from, and its name. Raises OSError; ValueError where bytes come without a name."""
    if isinstance(file, bytes):
        if not filename:
            raise ValueError("bytes have no name of their own: give filename=")
        return io.BytesIO(file), filename
    if isinstance(file, str | os.PathLike):
        path = Path(file)
        return path.open("rb"), filename or path.name
    name = filename or Path(str(getattr(file, "name", ""))).name
    if not name:
        raise ValueError("this file has no name of its own: give filename=")
    return file, name


def length(file: BinaryIO) -> int:
    """Bytes of the whole file."""
    return file.seek(0, io.SEEK_END)


def piece(file: BinaryIO, wanted: Piece) -> bytes:
    """The bytes of a piece."""
    file.seek(wanted.offset)
    return file.read(wanted.size)


def described(
    filename: str,
    collection: str | None,
    metadata: Mapping[str, Any] | None,
    on_duplicate: OnDuplicate,
    document_id: str | None,
) -> str:
    """What is said of a file, as the header Upload-Metadata has it."""
    said = {
        "filename": filename,
        "collection": collection,
        "metadata": json.dumps(metadata, ensure_ascii=False) if metadata else None,
        "on_duplicate": on_duplicate,
        "document_id": document_id,
    }
    return ",".join(
        f"{name} {base64.b64encode(value.encode()).decode()}" for name, value in said.items() if value
    )


def upload(size: int, said: str, on_progress: Sent | None) -> Steps[types.Document]:
    """The document that a file of `size` bytes became.

    Raises ApiError (`duplicate_document`, `too_large`, …) and Unreachable.
    """
    begin = Call("POST", "/uploads", headers={**_TUS, "Upload-Length": str(size), "Upload-Metadata": said})
    begun = yield from ask(begin)
    place, offset, troubles = begun.headers["location"], 0, 0
    document_id = begun.headers.get("longleaf-document")
    while document_id is None:
        if on_progress is not None:
            on_progress(offset, size)
        content: bytes = yield Piece(offset, PIECE_BYTES)
        if not content and offset < size:
            raise LongleafError(
                f"the file ended after {offset} of {size} bytes: it was cut while it was sent"
            )
        headers = {**_TUS, **_CONTENT, "Upload-Offset": str(offset)}
        try:
            answer = yield from ask(Call("PATCH", place, content=content, headers=headers, repeatable=False))
            troubles = 0
        except (Unreachable, ApiError) as error:
            # a request of before may still hold it, or have brought it further than this client knows
            if isinstance(error, ApiError) and error.code not in {"upload_locked", "offset_mismatch"}:
                raise
            troubles += 1
            if troubles == _TROUBLES:
                raise
            answer = yield from ask(Call("HEAD", place, headers=_TUS))
        offset = int(answer.headers["upload-offset"])
        document_id = answer.headers.get("longleaf-document")
    if on_progress is not None:
        on_progress(size, size)
    return (yield from reading(types.Document, f"/documents/{document_id}"))
