"""RTF, as striprtf reads it: text, and table rows as it writes them. Objects and pictures are left out."""

from __future__ import annotations

import re

from ingest.errors import ParseError
from ingest.parsers import text
from ingest.parsers.base import Reading
from ingest.parsers.builder import Piece, collapse, mark_header, row_of
from ingest.parsers.joiner import Joiner

MAX_BYTES = 64 << 20
_TITLE = re.compile(rb"\{\\title ([^{}\\]{1,300})\}")
_CODE_PAGE = re.compile(rb"\\ansicpg(\d{3,5})")


def read(data: bytes) -> Reading:
    """A reading without pages. Raises ParseError: `corrupt`, `too_large`."""
    from striprtf.striprtf import rtf_to_text  # noqa: PLC0415

    if len(data) > MAX_BYTES:
        raise ParseError("too_large", f"The RTF has {len(data) >> 20} MiB, the limit is {MAX_BYTES >> 20}.")
    try:
        plain: str = rtf_to_text(  # type: ignore[no-untyped-call]
            data.decode("latin-1"), encoding=_encoding(data), errors="replace"
        )
    except (ValueError, LookupError, IndexError, KeyError, TypeError) as error:
        raise ParseError(
            "corrupt", f"The RTF does not parse ({type(error).__name__}). Save it again."
        ) from error
    joiner = Joiner()
    rows: list[Piece] = []
    for paragraph in [*plain.split("\n"), ""]:
        cells = paragraph.split("|")
        if len(cells) > 2 and paragraph.rstrip().endswith("|"):
            rows += row_of([collapse(cell, keep_breaks=False) for cell in cells[:-1]])
            continue
        mark_header(rows)
        joiner.pieces(rows)
        rows = []
        line = collapse(paragraph, keep_breaks=False)
        for block in text.blocks(line):
            joiner.add(block.kind, line[block.start : block.end], block.level)
    titled = _TITLE.search(data[:65_536])
    title = titled.group(1).decode("latin-1").strip() if titled else ""
    return Reading("application/rtf", title or None, None, iter((joiner.done(),)))


def _encoding(data: bytes) -> str:
    """The code page that the file names; Windows-1252 where it names none."""
    found = _CODE_PAGE.search(data[:4096])
    name = f"cp{int(found.group(1))}" if found else "cp1252"
    try:
        "".encode(name)
    except LookupError:
        return "cp1252"
    return name
