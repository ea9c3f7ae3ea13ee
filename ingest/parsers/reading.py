"""Chooses the parser for a file. Runs inside the sandbox only."""

from __future__ import annotations

from pathlib import Path

from ingest.errors import ParseError
from ingest.parsers.base import Reading
from ingest.sniff import is_markdown, sniff


def open_reading(path: Path, filename: str, *, max_pages: int, max_characters: int) -> Reading:
    """Opens a file of any supported format. Raises ParseError."""
    sniffed = sniff(path, filename)
    size = path.stat().st_size
    match sniffed.format:
        case "pdf":
            from ingest.parsers import pdf  # noqa: PLC0415  # each child loads one parser only

            return pdf.read(path, max_pages)
        case "docx":
            from ingest.parsers import docx  # noqa: PLC0415

            return docx.read(path)
        case "html":
            from ingest.parsers import html  # noqa: PLC0415

            _bound(size, 8 * max_characters)
            return html.read(path.read_bytes())
        case "markdown" | "text":
            from ingest.parsers import decoding, markdown, text  # noqa: PLC0415

            _bound(size, 4 * max_characters)
            content = decoding.decode(path.read_bytes()).text
            return markdown.read(content) if is_markdown(content, filename) else text.read(content)


def _bound(size: int, limit: int) -> None:
    if size > limit:
        raise ParseError(
            "too_large", f"The file has {size} bytes, more than {limit} can be read as text. Split it."
        )
