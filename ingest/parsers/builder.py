"""Builds text and blocks for formats whose text is made of elements (DOCX, HTML)."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

from lxml import etree

from ingest.parsers.base import HEADER_ROW, Block, BlockKind, ParsedPage

CELL_SEPARATOR = " | "

_INVISIBLE = dict.fromkeys([0x00AD, 0x200B, 0x2060, 0xFEFF, 0xFFFE, 0xFFFF])
_SPACES = dict.fromkeys((160, 8199, 8200, 8201, 8202, 8239, 8287, 12288, 8194, 8195), " ")
_CONTROLS = {cp: " " for cp in range(0x20) if cp not in (0x09, 0x0A)} | dict.fromkeys(range(0x7F, 0xA0), " ")
_LIGATURES = {cp: unicodedata.normalize("NFKC", chr(cp)) for cp in range(0xFB00, 0xFB07)}
_SURROGATES = dict.fromkeys(range(0xD800, 0xE000), "\ufffd")
_TABLE: dict[int, str | None] = {**_CONTROLS, **_SPACES, **_INVISIBLE, **_LIGATURES, **_SURROGATES}
_BLANKS = re.compile(r"\t[ \t]*| [ \t]+")  # every run but the single space, which nearly all are
_BLANK_AT_BREAK = re.compile(r" *\n *")


def clean(text: str) -> str:
    """Makes extracted text searchable: plain spaces, no soft hyphens or invisible marks, ligatures spelled.

    Line feeds stay; joiners (ZWJ, ZWNJ) and direction marks stay, because scripts need them.
    """
    return text.translate(_TABLE)


def collapse(text: str, *, keep_breaks: bool = True) -> str:
    """`clean`, runs of blanks made one space, blanks beside line feeds removed, ends trimmed."""
    text = clean(text)
    if not keep_breaks:
        return _BLANKS.sub(" ", text.replace("\n", " ")).strip()
    return _BLANK_AT_BREAK.sub("\n", _BLANKS.sub(" ", text)).strip()


@dataclass(frozen=True, slots=True)
class Piece:
    """A block before its place in the text is known."""

    kind: BlockKind
    text: str
    level: int = 0


def join_pieces(pieces: list[Piece]) -> ParsedPage:
    """Pieces, parted by blank lines; list items and table rows that follow each other by a line end only."""
    parts: list[str] = []
    blocks: list[Block] = []
    length = 0
    previous: Piece | None = None
    for piece in pieces:
        if not piece.text:
            continue
        if previous is not None:
            tight = piece.kind == previous.kind and piece.kind in ("list_item", "table_row")
            separator = "\n" if tight else "\n\n"
            parts.append(separator)
            length += len(separator)
        parts.append(piece.text)
        blocks.append(Block(piece.kind, length, length + len(piece.text), piece.level))
        length += len(piece.text)
        previous = piece
    return ParsedPage("".join(parts), tuple(blocks))


def row_pieces(cells: list[list[Piece]], *, header: bool = False) -> list[Piece]:
    """One table row. Cells of plain text become one `table_row`; a row that is page layout stays blocks.

    Layout is a row whose cells hold headings, inner rows or code, or a single cell with several blocks.
    """
    filled = [cell for cell in cells if cell]
    inner = any(piece.kind in ("heading", "table_row", "code") for cell in filled for piece in cell)
    if inner or (len(filled) == 1 and len(cells) == 1 and len(filled[0]) > 1):
        return [piece for cell in filled for piece in cell]
    texts = [" ".join(collapse(piece.text, keep_breaks=False) for piece in cell) for cell in cells]
    return row_of(texts, header=header)


def row_of(texts: list[str], *, header: bool = False) -> list[Piece]:
    """One table row of cells that are clean already; nothing where all of them are empty."""
    while texts and not texts[-1]:
        texts.pop()
    # A cell that starts as a separator would leave blanks at the row's start.
    row = CELL_SEPARATOR.join(texts).strip()
    return [Piece("table_row", row, HEADER_ROW if header else 0)] if row else []


_FIGURES = re.compile(r"[\s\d.,:;%$€£¥()+/−–-]*\d[\s\d.,:;%$€£¥()+/−–-]*")


def names_columns(cells: list[str]) -> bool:
    """Whether the cells of a first row read like names of columns: short, at least two, no amounts.

    Years may name columns; the first cell may be empty.
    """
    named = [cell for cell in cells if cell]
    if len(named) < 2 or len(named) * 2 <= len(cells) or max(map(len, named)) > 80:
        return False
    return not any(map(is_amount, named)) and not all(_YEAR.fullmatch(cell) for cell in cells)


def is_amount(cell: str) -> bool:
    """Whether a cell holds a number that is no year."""
    return bool(_FIGURES.fullmatch(cell)) and not _YEAR.fullmatch(cell)


_YEAR = re.compile(r"(?:FY|Q[1-4]\s?)?(?:1[89]|20)\d\d", re.IGNORECASE)


def mark_header(pieces: list[Piece], first: int = 0) -> None:
    """Marks the first row of a table as its header, where `pieces[first:]` holds rows and none is marked."""
    rows = [place for place in range(first, len(pieces)) if pieces[place].kind == "table_row"]
    if len(rows) < 2 or any(pieces[place].level == HEADER_ROW for place in rows):
        return
    top = pieces[rows[0]]
    if names_columns([cell.strip() for cell in top.text.split(CELL_SEPARATOR)]):
        pieces[rows[0]] = Piece(top.kind, top.text, HEADER_ROW)


def raise_if_starved(error: etree.XMLSyntaxError) -> None:
    """Raises MemoryError where libxml2 reports a lack of memory, which lxml passes on as a syntax error."""
    if error.code == etree.ErrorTypes.ERR_NO_MEMORY:
        raise MemoryError from error


_MARKDOWN_MARKS = re.compile(r"[*_`#]+|<[^<>]{1,200}>|!?\[([^\]]{0,200})\]\([^)]{0,500}\)")


_NOT_ALNUM = re.compile(r"[\W_]+")
_HASHES = re.compile(r"\s*#{1,6}[ \t]+")


def heading_label(source: str, *, markdown: bool) -> str:
    """A heading as a person would say it: one line, without Markdown's marks, at most 200 characters."""
    source = _HASHES.sub("", source, count=1) if _HASHES.match(source) else source
    if markdown:
        source = _MARKDOWN_MARKS.sub(lambda match: match.group(1) or "", source).strip(" \t=-\r\n")
    return " ".join(source.split())[:200]


def letters_and_digits(text: str) -> str:
    """Nothing else, in small letters, so that marks and line ends do not hide that two texts are the same."""
    return _NOT_ALNUM.sub("", text.casefold())


def essence(text: str) -> str:
    """Letters and digits without the number in front, by which an outline's titles are found on pages."""
    plain = letters_and_digits(text)
    return plain.lstrip("0123456789") or plain
