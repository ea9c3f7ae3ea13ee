"""What every parser yields and what a document becomes: text, with pages and blocks as ranges of it.

All offsets count Unicode code points, ends are exclusive.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, get_args

BlockKind = Literal["heading", "paragraph", "list_item", "table_row", "code"]
BLOCK_KINDS: tuple[BlockKind, ...] = get_args(BlockKind)

HEADER_ROW = 1
PAGE_BREAK = "\n\n"
"""Follows the text of every page of a paged document, so that no page is an empty range."""


@dataclass(frozen=True, slots=True)
class Block:
    """One structural unit.

    `level` is a heading's rank (1 is the highest), a list item's depth, or `HEADER_ROW` for the row of a
    table that names its columns.
    """

    kind: BlockKind
    start: int
    end: int
    level: int = 0


@dataclass(frozen=True, slots=True)
class PageSpan:
    """Page `number` (1-based) as the range [start, end) of the canonical text."""

    number: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class ParsedPage:
    """The text of one page (or of a whole document without pages); block offsets are relative to it."""

    text: str
    blocks: tuple[Block, ...] = ()


@dataclass(frozen=True, slots=True)
class Reading:
    """A document being read. `pages_total` is None for a format without pages."""

    media_type: str
    title: str | None
    pages_total: int | None
    pages: Iterator[ParsedPage]


@dataclass(frozen=True, slots=True)
class ParsedDocument:
    """The canonical text and its structure. `pages` tile the text; a format without pages has none."""

    text: str
    pages: tuple[PageSpan, ...]
    blocks: tuple[Block, ...]
    title: str | None
    media_type: str


class DocumentAssembler:
    """Joins pages, as they arrive, to one `ParsedDocument`; pages come in order, text in fragments."""

    def __init__(self, media_type: str, title: str | None, *, paged: bool) -> None:
        self._media_type = media_type
        self._title = title
        self._paged = paged
        self._fragments: list[str] = []
        self._blocks: list[Block] = []
        self._pages: list[PageSpan] = []
        self._page_start = 0
        self.characters = 0

    @property
    def page_characters(self) -> int:
        """Code points of the page that is not finished yet."""
        return self.characters - self._page_start

    def add_text(self, fragment: str) -> None:
        """Appends to the current page."""
        self._fragments.append(fragment)
        self.characters += len(fragment)

    def end_page(self, blocks: Iterable[Block]) -> None:
        """Finishes the page. Raises ValueError unless its blocks are ordered, disjoint and inside it."""
        base, size, last = self._page_start, self.page_characters, 0
        for block in blocks:
            if not last <= block.start < block.end <= size:
                raise ValueError(f"block {block} does not fit a page of {size} characters after {last}")
            last = block.end
            self._blocks.append(Block(block.kind, base + block.start, base + block.end, block.level))
        if self._paged:
            self.add_text(PAGE_BREAK)
            self._pages.append(PageSpan(len(self._pages) + 1, base, self.characters))
        self._page_start = self.characters

    @property
    def pages_done(self) -> int:
        """Finished pages of a paged document."""
        return len(self._pages)

    def finish(self) -> ParsedDocument:
        """The document of all finished pages."""
        return ParsedDocument(
            "".join(self._fragments), tuple(self._pages), tuple(self._blocks), self._title, self._media_type
        )


def assemble(reading: Reading) -> ParsedDocument:
    """Reads everything in this process: for tests and tools that have limits of their own."""
    assembler = DocumentAssembler(reading.media_type, reading.title, paged=reading.pages_total is not None)
    for page in reading.pages:
        assembler.add_text(page.text)
        assembler.end_page(page.blocks)
    return assembler.finish()
