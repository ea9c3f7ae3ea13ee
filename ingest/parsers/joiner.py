"""Puts one text together from headings, pieces and whole pages, and keeps the ranges of their blocks."""

from __future__ import annotations

from collections.abc import Iterable

from ingest.parsers.base import Block, BlockKind, ParsedPage
from ingest.parsers.builder import Piece

_TIGHT: tuple[BlockKind, ...] = ("list_item", "table_row")
_MAX_LEVEL = 250  # a level is sent as one byte


class Joiner:
    """A text that grows. Blank lines part blocks, line ends part rows and items that follow each other."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._blocks: list[Block] = []
        self._last: BlockKind | None = None
        self.characters = 0

    def add(self, kind: BlockKind, text: str, level: int = 0) -> None:
        """Appends one block; an empty text is none."""
        if not text.strip():
            return
        self._part(tight=kind == self._last and kind in _TIGHT)
        start = self.characters
        self._text(text)
        # Blocks have no blanks at their ends.
        lead = len(text) - len(text.lstrip())
        self._blocks.append(Block(kind, start + lead, start + len(text.rstrip()), min(level, _MAX_LEVEL)))
        self._last = kind

    def heading(self, text: str, level: int) -> None:
        """Appends a heading, as one line."""
        self.add("heading", " ".join(text.split())[:300], level)

    def paragraph(self, text: str) -> None:
        """Appends a paragraph."""
        self.add("paragraph", text)

    def pieces(self, pieces: Iterable[Piece], shift: int = 0) -> None:
        """Appends pieces; headings among them become `shift` ranks lower."""
        for piece in pieces:
            level = piece.level + shift if piece.kind == "heading" else piece.level
            self.add(piece.kind, piece.text, level)

    def page(self, page: ParsedPage, shift: int = 0) -> None:
        """Appends a whole page as it is, its headings `shift` ranks lower."""
        if not page.text.strip():
            return
        self._part(tight=False)
        base = self.characters
        self._text(page.text)
        for block in page.blocks:
            level = min(block.level + shift, _MAX_LEVEL) if block.kind == "heading" else block.level
            self._blocks.append(Block(block.kind, base + block.start, base + block.end, level))
        self._last = None

    def done(self) -> ParsedPage:
        """All of it."""
        return ParsedPage("".join(self._parts), tuple(self._blocks))

    def _part(self, *, tight: bool) -> None:
        if self.characters:
            self._text("\n" if tight else "\n\n")

    def _text(self, text: str) -> None:
        self._parts.append(text)
        self.characters += len(text)
