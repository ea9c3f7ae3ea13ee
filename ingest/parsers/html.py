"""HTML: the visible text with its headings, lists and table rows. Nothing that the page names is fetched.

The parser is libxml2's, driven as events (no tree), so that depth costs no recursion.
"""

from __future__ import annotations

import re

from lxml import etree

from ingest.errors import ParseError
from ingest.parsers.base import BlockKind, Reading
from ingest.parsers.builder import (
    Piece,
    clean,
    collapse,
    join_pieces,
    mark_header,
    raise_if_starved,
    row_pieces,
)
from ingest.parsers.decoding import decode

_META_CHARSET = re.compile(
    rb"<meta\b[^>]{0,300}?charset\s*=\s*[\"']?\s*([A-Za-z0-9_:.-]{2,40})", re.IGNORECASE
)
_XML_ENCODING = re.compile(rb"\A\s*<\?xml[^>]{0,100}encoding\s*=\s*[\"']([A-Za-z0-9_:.-]{2,40})")
_XML_DECLARATION = re.compile(r"\A\s*<\?xml[^>]*\?>")
_HIDDEN_STYLE = re.compile(r"display\s*:\s*none|visibility\s*:\s*hidden", re.IGNORECASE)


def _names(listed: str) -> frozenset[str]:
    return frozenset(listed.split())


_DROPPED = _names(
    "script style template noscript head svg canvas iframe object embed audio video applet "
    "select datalist map noframes frameset textarea "
)
_VOID = _names("area base br col embed hr img input link meta param source track wbr frame ")
_HEADINGS = {f"h{level}": level for level in range(1, 7)}
_PARTING = _names(
    "h1 h2 h3 h4 h5 h6 pre li tr td th address article aside blockquote body center dd details "
    "dialog dir div dl dt fieldset figcaption figure footer form header hgroup hr html legend "
    "main menu nav ol p section summary ul caption tbody thead tfoot table "
)


def read(data: bytes) -> Reading:
    """A reading of an HTML file. Raises ParseError where its encoding cannot be told or nothing parses."""
    declared = _META_CHARSET.search(data[:4096]) or _XML_ENCODING.search(data[:200])
    text = decode(data, declared.group(1).decode("ascii") if declared else None).text
    return read_text(text)


def read_text(text: str) -> Reading:
    """A reading of HTML that is decoded already."""
    target = _Target()
    parser = etree.HTMLParser(target=target, no_network=True, huge_tree=True, encoding="utf-8")
    source = _XML_DECLARATION.sub("", text).encode("utf-8", "replace")
    try:
        for start in range(0, len(source), 1 << 16):
            parser.feed(source[start : start + (1 << 16)])
        parser.close()
    except etree.XMLSyntaxError as error:
        raise_if_starved(error)
        if not target.pieces and not target.has_text:
            raise ParseError("corrupt", f"The HTML does not parse ({error}). Save it again.") from error
    pieces = target.finish()
    return Reading("text/html", target.title, None, iter((join_pieces(pieces),)))


class _Row:
    """The cells of a table row that is open."""

    def __init__(self) -> None:
        self.cells: list[list[Piece]] = []
        self.names = 0  # cells that are `th`

    def pieces(self) -> list[Piece]:
        """The row, as the header of its table where all its cells are names."""
        return row_pieces(self.cells, header=len(self.cells) > 1 and self.names == len(self.cells))


class _Target:
    """Receives start, end and data events and gathers pieces."""

    def __init__(self) -> None:
        self.pieces: list[Piece] = []
        self.title: str | None = None
        self._title_parts: list[str] = []
        self._in_title = False
        self._inline: list[str] = []
        self._dropped: list[str] = []  # open elements since (and with) the one that hides everything
        self._rows: list[_Row] = []
        self._cell_outputs: list[list[Piece]] = []  # where the enclosing cells' pieces go
        self._tables: list[tuple[list[Piece], int]] = []  # where the open tables' pieces begin
        self._heading = 0
        self._pre = 0
        self._items: list[bool] = []  # for each open list item, whether its first text is still to come

    @property
    def has_text(self) -> bool:
        """Whether any text is waiting."""
        return bool(self._inline)

    # The names of these methods are lxml's.
    def start(self, tag: str, attributes: dict[str, str]) -> None:
        """An element opens."""
        if tag == "title" and self.title is None:
            self._in_title = True
            self._title_parts = []
        if self._dropped or tag in _DROPPED or _is_hidden(tag, attributes):
            if tag not in _VOID:
                self._dropped.append(tag)
        elif tag == "br":
            self._inline.append("\n")
        elif tag in _PARTING:
            self._flush()
            self._open(tag)

    def _open(self, tag: str) -> None:
        if tag in _HEADINGS:
            self._heading = _HEADINGS[tag]
        elif tag == "pre":
            self._pre += 1
        elif tag == "li":
            self._items.append(True)
        elif tag == "table":
            self._tables.append((self._out(), len(self._out())))
        elif tag == "tr":
            self._rows.append(_Row())
        elif tag in ("td", "th") and self._rows:
            self._cell_outputs.append([])

    def end(self, tag: str) -> None:
        """An element closes."""
        if tag == "title" and self._in_title:
            self._in_title = False
            self.title = collapse("".join(self._title_parts), keep_breaks=False)[:300] or None
        if self._dropped:
            if tag in self._dropped:
                while self._dropped.pop() != tag:
                    pass
        elif tag in _PARTING:
            self._flush()
            self._close(tag)

    def _close(self, tag: str) -> None:
        if tag in _HEADINGS:
            self._heading = 0
        elif tag == "pre":
            self._pre = max(0, self._pre - 1)
        elif tag == "li" and self._items:
            self._items.pop()
        elif tag in ("td", "th") and self._rows and self._cell_outputs:
            self._rows[-1].cells.append(self._cell_outputs.pop())
            self._rows[-1].names += tag == "th"
        elif tag == "tr" and self._rows:
            self._out().extend(self._rows.pop().pieces())
        elif tag == "table" and self._tables:
            mark_header(*self._tables.pop())

    def data(self, text: str) -> None:
        """Text, in pieces of any size."""
        if self._in_title:
            self._title_parts.append(text)
        elif not self._dropped:
            self._inline.append(text if self._pre else re.sub(r"\s+", " ", text))

    def comment(self, _text: str) -> None:
        """Comments are not visible."""

    def pi(self, _target: str, _data: str | None = None) -> None:
        """Neither are processing instructions."""

    def close(self) -> None:
        """Called by the parser at the end; `finish` does the work, also after an error."""

    def finish(self) -> list[Piece]:
        """All pieces; closes what the page left open."""
        self._flush()
        while self._cell_outputs or self._rows:
            if self._cell_outputs:
                output = self._cell_outputs.pop()
                self._out().extend(output)
            if self._rows:
                self._out().extend(self._rows.pop().pieces())
        while self._tables:
            mark_header(*self._tables.pop())
        return self.pieces

    def _out(self) -> list[Piece]:
        return self._cell_outputs[-1] if self._cell_outputs else self.pieces

    def _flush(self) -> None:
        raw = "".join(self._inline)
        self._inline.clear()
        text = clean(raw).strip("\n").rstrip() if self._pre else collapse(raw)
        if not text.strip():
            return
        kind: BlockKind = "paragraph"
        level = 0
        if self._heading:
            kind, level, text = "heading", self._heading, collapse(text, keep_breaks=False)
        elif self._pre:
            kind = "code"
        elif self._items and self._items[-1]:
            kind, level, self._items[-1] = "list_item", len(self._items), False
        self._out().append(Piece(kind, text, level))


def _is_hidden(tag: str, attributes: dict[str, str]) -> bool:
    if tag in ("html", "body"):
        return False
    return "hidden" in attributes or bool(_HIDDEN_STYLE.search(attributes.get("style") or ""))
