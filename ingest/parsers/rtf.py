"""RTF, as striprtf reads it: text, and table rows as it writes them. Objects and pictures are left out."""

from __future__ import annotations

import re

from ingest.errors import ParseError
from ingest.parsers import text
from ingest.parsers.base import Reading
from ingest.parsers.builder import Piece, collapse, mark_header, row_of
from ingest.parsers.joiner import Joiner

MAX_BYTES = 64 << 20
_STYLES = 1 << 20  # the style sheet stands at the file's start
_TITLE = re.compile(rb"\{\\title ([^{}\\]{1,300})\}")
_CODE_PAGE = re.compile(rb"\\ansicpg(\d{3,5})")


# What striprtf passes over or takes apart: ranks of paragraphs, notes, and paragraphs that end a cell.
_RANK = re.compile(rb"\\outlinelevel([0-8])(?![0-9]) ?")
_NOTE = re.compile(rb"(?:\\\*)?\\footnote\b")
_END_OF_CELL = re.compile(rb"\\par\b\s*(\}*)\s*(?=\\cell\b)")
_STYLE = re.compile(rb"\{\\s(\d{1,4})\b[^{}]*?\bheading (\d)\s*;\}", re.IGNORECASE)
_STYLED = re.compile(rb"\\s(\d{1,4})(?![0-9]) ?")
_RANKED = re.compile("[\ue000-\ue008]")


def _prepared(data: bytes) -> bytes:
    """Ranks as letters of private use, notes as text where they stand, cells in one paragraph."""
    ranks = {style: int(rank) - 1 for style, rank in _STYLE.findall(data[:_STYLES]) if b"1" <= rank <= b"9"}
    data = _RANK.sub(lambda rank: b"\\u%d?" % (0xE000 + int(rank.group(1))), data)
    if ranks:
        data = _STYLED.sub(
            lambda used: b"\\u%d?" % (0xE000 + ranks[used[1]]) if used[1] in ranks else used[0], data
        )
    return _END_OF_CELL.sub(rb"\1", _NOTE.sub(b" ", data))


def read(data: bytes) -> Reading:
    """A reading without pages. Raises ParseError: `corrupt`, `too_large`."""
    from striprtf.striprtf import rtf_to_text  # noqa: PLC0415

    if len(data) > MAX_BYTES:
        raise ParseError("too_large", f"The RTF has {len(data) >> 20} MiB, the limit is {MAX_BYTES >> 20}.")
    try:
        plain: str = rtf_to_text(  # type: ignore[no-untyped-call]
            _prepared(data).decode("latin-1"), encoding=_encoding(data), errors="replace"
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
        rank = _RANKED.search(paragraph)
        line = collapse(_RANKED.sub("", paragraph), keep_breaks=False)
        if rank and line and len(line) <= 300:
            joiner.heading(line, ord(rank.group()) - 0xE000 + 1)
            continue
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
