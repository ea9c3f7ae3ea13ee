"""How tests of parsers read: in this process, without the sandbox."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ingest.parsers.base import ParsedDocument, assemble
from ingest.parsers.reading import open_reading


def parse(path: Path, filename: str | None = None, **options: Any) -> ParsedDocument:
    """The document of a file."""
    return assemble(
        open_reading(path, filename or path.name, max_pages=100, max_characters=1_000_000, **options)
    )


def parse_bytes(tmp_path: Path, content: bytes, filename: str, **options: Any) -> ParsedDocument:
    """The document of bytes that are stored without their name, as uploads are."""
    path = tmp_path / "blob"
    path.write_bytes(content)
    return parse(path, filename, **options)


def found(document: ParsedDocument, kind: str) -> list[str]:
    """The texts of all blocks of a kind."""
    return [document.text[b.start : b.end] for b in document.blocks if b.kind == kind]


def headers(document: ParsedDocument) -> list[str]:
    """The header rows of its tables."""
    return [document.text[b.start : b.end] for b in document.blocks if b.kind == "table_row" and b.level]


def check_ranges(document: ParsedDocument) -> None:
    """Pages tile the text; blocks lie inside it in order, with no blanks at their ends."""
    at = 0
    for number, page in enumerate(document.pages, 1):
        assert (page.number, page.start) == (number, at)
        assert page.end > page.start
        at = page.end
    assert not document.pages or at == len(document.text)
    last = 0
    for block in document.blocks:
        assert last <= block.start < block.end <= len(document.text)
        assert document.text[block.start : block.end].strip() == document.text[block.start : block.end]
        last = block.end
