"""Chooses the parser for a file. Runs inside the sandbox only; each child loads the parsers it needs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from ingest.errors import ParseError
from ingest.formats import Format, Sniffed
from ingest.ocr import NO_OCR, Ocr
from ingest.parsers.base import Reading
from ingest.parsers.source import Context, Source
from ingest.sniff import is_markdown, sniff_stream

if TYPE_CHECKING:
    from ingest.parsers.pdf_helper import Helper

# The module of each format. Those of the first table read a source, those of the second one bytes that say
# themselves how they are encoded, those of the third decoded text (or tell that it is only plain text).
_SOURCES: dict[Format, str] = {
    "pdf": "pdf",
    "docx": "docx",
    "pptx": "pptx",
    "xlsx": "xlsx",
    "opendocument": "opendocument",
    "epub": "epub",
    "msg": "msg",
    "zip": "archive",
    "image": "image",
    "mail": "mail",
    "mailbox": "mailbox",
    "xml": "xml",
}
_BYTES: dict[Format, str] = {"html": "html", "rtf": "rtf"}
_TEXTS: dict[Format, str] = {
    "csv": "delimited",
    "json": "json_values",
    "latex": "latex",
    "rst": "rst",
    "subtitles": "subtitles",
    "code": "code",
}


def open_reading(
    path: Path,
    filename: str,
    *,
    max_pages: int,
    max_characters: int,
    ocr: Ocr = NO_OCR,
    on_ocr: Callable[[], None] = lambda: None,
    helper: Helper | None = None,
) -> Reading:
    """Opens a file of any supported format. Raises ParseError.

    `on_ocr` is called before the first picture is read, which takes long. `helper` reads along, if it is a
    PDF.
    """
    context = context_of(max_pages, max_characters, ocr, on_ocr)
    return open_source(Source(filename, path), replace(context, helper=helper))


def context_of(max_pages: int, max_characters: int, ocr: Ocr, on_ocr: Callable[[], None]) -> Context:
    """What a reader of the outermost file may do."""
    return Context(open_source, max_pages, max_characters, ocr.folder, ocr.languages, ocr.remedy, on_ocr)


def open_source(source: Source, context: Context) -> Reading:
    """Opens a file, or one within another. Raises ParseError."""
    with source.open() as file:
        sniffed = sniff_stream(file, source.filename)
    if sniffed.format in _SOURCES:
        return _read(_SOURCES[sniffed.format], source, context)
    _bound(source.size, 8 * context.max_characters)
    if sniffed.format in _BYTES:
        return _read(_BYTES[sniffed.format], source.read())
    return _textual(source, sniffed, context)


def _textual(source: Source, sniffed: Sniffed, context: Context) -> Reading:
    from ingest.parsers import decoding, text  # noqa: PLC0415

    _bound(source.size, 4 * context.max_characters)
    content = decoding.decode(source.read()).text
    if sniffed.format in _TEXTS:
        return _read(_TEXTS[sniffed.format], content, sniffed.media_type) or text.read(content)
    if sniffed.format == "markdown" or is_markdown(content, source.filename):
        return _read("markdown", content)
    if Path(source.filename).suffix.lower() in ("", ".txt"):
        return _read("delimited", content, "", sure=False) or text.read(content)
    return text.read(content)


def _read(module: str, *arguments: object, **options: object) -> Reading:
    reading: Reading = import_module(f"ingest.parsers.{module}").read(*arguments, **options)
    return reading


def _bound(size: int, limit: int) -> None:
    if size > limit:
        raise ParseError(
            "too_large", f"The file has {size} bytes, more than {limit} can be read as text. Split it."
        )
