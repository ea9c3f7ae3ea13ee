"""Reads `multipart/form-data` as it arrives: files go to disk piece by piece, limits hold while reading."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field

from fastapi import HTTPException, Request
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.concurrency import run_in_threadpool

from ingest.uploads import METADATA_LIMIT, UploadSink
from rag.errors import InvalidRequest, TooLarge
from rag.settings import Settings

MAX_FILES = 100
"""Most files of one request."""
OVERHEAD_BYTES = 1024 * 1024
"""What headers, boundaries and fields may take beside the files."""
UPLOAD_FIELDS = frozenset({"collection", "metadata"})
_PIECE = 256 * 1024


@dataclass
class UploadForm:
    """What came: files, finished and hashed but not yet accepted, and the text fields."""

    files: list[tuple[str, UploadSink]] = field(default_factory=list)
    fields: dict[str, str] = field(default_factory=dict)


class _Part:
    """The part that is being read: either a file or a field."""

    def __init__(self) -> None:
        self.header = b""
        self.value = b""
        self.headers: dict[bytes, bytes] = {}
        self.name = ""
        self.filename: str | None = None
        self.sink: UploadSink | None = None
        self.text = bytearray()


class _Reader:
    """Turns the parser's callbacks into files and fields; `feed` runs in a thread, one call at a time."""

    def __init__(
        self, boundary: bytes, settings: Settings, stack: ExitStack, fields: frozenset[str], most_files: int
    ) -> None:
        self.form = UploadForm()
        self._fields = fields
        self._most_files = most_files
        self.ended = False
        self._settings = settings
        self._stack = stack
        self._part = _Part()
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin,
                "on_header_field": self._header_field,
                "on_header_value": self._header_value,
                "on_header_end": self._header_end,
                "on_headers_finished": self._headers_finished,
                "on_part_data": self._data,
                "on_part_end": self._end,
                "on_end": self._finish,
            },
        )

    def feed(self, data: bytes) -> None:
        try:
            self._parser.write(data)
        except FormParserError as error:
            raise HTTPException(400, f"The form can't be read: {error}.") from error

    def _begin(self) -> None:
        self._part = _Part()

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._part.header += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._part.value += data[start:end]

    def _header_end(self) -> None:
        self._part.headers[self._part.header.lower()] = self._part.value
        self._part.header = self._part.value = b""

    def _headers_finished(self) -> None:
        part = self._part
        _, options = parse_options_header(part.headers.get(b"content-disposition", b""))
        part.name = options.get(b"name", b"").decode("utf-8", "replace")
        if b"filename" in options:
            part.filename = options[b"filename"].decode("utf-8", "replace")
        if part.name == "file":
            if len(self.form.files) >= self._most_files:
                raise InvalidRequest(
                    f"One request takes at most {self._most_files} files; send the rest in another.",
                    code="too_many_files",
                )
            part.sink = self._stack.enter_context(UploadSink(self._settings))
        elif part.name not in self._fields:
            takes = ", ".join(f"`{name}`" for name in ("file", *sorted(self._fields)))
            raise InvalidRequest(
                f"The form has a field {part.name[:60]!r}; it takes {takes}.",
                code="unknown_field",
            )
        elif part.name in self.form.fields:
            raise InvalidRequest(f"The field {part.name} came twice.", code="invalid_request")

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._part.sink is not None:
            self._part.sink.write(data[start:end])
            return
        self._part.text += data[start:end]
        if len(self._part.text) > METADATA_LIMIT:
            raise TooLarge(f"The field {self._part.name} has more than {METADATA_LIMIT:,} bytes.")

    def _end(self) -> None:
        part = self._part
        if part.sink is not None:
            # browsers send a file input that was left empty as a file of no bytes with no name
            if part.filename == "" and part.sink.bytes == 0:
                part.sink.close()
            else:
                self.form.files.append((part.filename or "document", part.sink))
            return
        try:
            self.form.fields[part.name] = part.text.decode()
        except UnicodeDecodeError as error:
            raise HTTPException(400, f"The field {part.name} is not UTF-8.") from error

    def _finish(self) -> None:
        self.ended = True


@asynccontextmanager
async def read_upload(
    request: Request,
    settings: Settings,
    *,
    fields: frozenset[str] = UPLOAD_FIELDS,
    most_files: int = MAX_FILES,
) -> AsyncIterator[UploadForm]:
    """Read the form, with these fields beside its files; what was not accepted by the end of the block is
    removed from the disk.

    Raises HTTPException 415 and 400 (not such a form, or a broken one), TooLarge, InvalidRequest
    (`unknown_field`, `no_file`), Unavailable (`storage_unavailable`), ClientDisconnect.
    """
    boundary = _boundary(request.headers.get("content-type", ""))
    with ExitStack() as stack:
        reader = _Reader(boundary, settings, stack, fields, most_files)
        pending = bytearray()
        async for piece in request.stream():
            pending += piece
            if len(pending) >= _PIECE:
                await run_in_threadpool(reader.feed, bytes(pending))
                pending.clear()
        await run_in_threadpool(reader.feed, bytes(pending))
        if not reader.ended:
            raise HTTPException(400, "The form ends before its last boundary.")
        if not reader.form.files:
            raise InvalidRequest("The form has no file; send at least one part named `file`.", code="no_file")
        yield reader.form


def _boundary(content_type: str) -> bytes:
    kind, options = parse_options_header(content_type.encode("latin-1", "replace"))
    boundary = options.get(b"boundary", b"")
    if kind != b"multipart/form-data":
        raise HTTPException(415, "Documents are sent as multipart/form-data with parts named `file`.")
    # RFC 2046, section 5.1.1
    if not re.fullmatch(rb"[0-9A-Za-z'()+_,\-./:=? ]{1,70}", boundary):
        raise HTTPException(400, "The content type names no usable boundary.")
    return boundary
