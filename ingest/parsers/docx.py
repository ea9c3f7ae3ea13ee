"""DOCX: paragraphs, headings, lists, tables row by row, notes; headers and footers where the body has little.

Read from the parts' XML with lxml, because python-docx passes over text in content controls, text boxes,
tracked insertions and notes, and unpacks every part. Nothing outside the container is ever followed.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from lxml import etree

from ingest.errors import ParseError
from ingest.parsers.base import Reading
from ingest.parsers.builder import Piece, collapse, join_pieces, mark_header, row_pieces
from ingest.parsers.containers import Container, attribute, container_errors, local
from ingest.parsers.source import Context, Source

_LITTLE_TEXT = 200
_MAX_DEPTH = 60

_HEADING_NAME = re.compile(
    r"(?:heading|überschrift|titre|título|titolo|rubrik|kop)\s*([1-9])$", re.IGNORECASE
)
_SKIPPED = frozenset(
    {"del", "moveFrom", "instrText", "delText", "rPr", "pPr", "sectPr", "tblPr", "trPr", "tcPr"}
)


def read(source: Source, _context: Context | None = None) -> Reading:
    """A reading of a DOCX without pages. Raises ParseError: `corrupt`, `too_large`, `encrypted`."""
    with container_errors("DOCX"), source.open() as file:
        return _read(Container(file, "DOCX"))


@dataclass(frozen=True, slots=True)
class _Style:
    heading: int = 0
    listed: bool = False


def _read(container: Container) -> Reading:
    main = _main_part(container)
    folder = posixpath.dirname(main)
    walker = _Walker(_styles(container, folder))
    root = container.xml(main)
    body = next((child for child in root if local(child) == "body"), root)
    pieces = walker.blocks(body)
    for notes in ("footnotes.xml", "endnotes.xml"):
        name = f"{folder}/{notes}"
        if name in container:
            for note in container.xml(name):
                if attribute(note, "type") in (None, "normal"):
                    pieces += walker.blocks(note)
    if sum(len(piece.text) for piece in pieces) < _LITTLE_TEXT:
        pieces = [
            *_edges(container, folder, walker, "header"),
            *pieces,
            *_edges(container, folder, walker, "footer"),
        ]
    return Reading(_MEDIA_TYPE, _title(container), None, iter((join_pieces(pieces),)))


_MEDIA_TYPE = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"


def _main_part(container: Container) -> str:
    """The part that the package names as its document (strict and transitional names differ)."""
    if "_rels/.rels" in container:
        for relation in container.xml("_rels/.rels"):
            if str(relation.get("Type", "")).endswith("/officeDocument"):
                name = posixpath.normpath(str(relation.get("Target", "")).lstrip("/"))
                if name in container:
                    return name
    if "word/document.xml" in container:
        return "word/document.xml"
    raise ParseError("corrupt", "The DOCX names no main document part. Export it again.")


def _edges(container: Container, folder: str, walker: _Walker, kind: str) -> list[Piece]:
    names = sorted(n for n in container.names() if re.fullmatch(rf"{re.escape(folder)}/{kind}\d*\.xml", n))
    pieces = [piece for name in names for piece in walker.blocks(container.xml(name))]
    unique = {piece.text: piece for piece in pieces}
    return list(unique.values())


def _child(element: Any, *path: str) -> Any:
    for name in path:
        element = (
            next((child for child in element if local(child) == name), None) if element is not None else None
        )
    return element


def _styles(container: Container, folder: str) -> dict[str, _Style]:
    name = f"{folder}/styles.xml"
    if name not in container:
        return {}
    raw: dict[str, tuple[_Style, str | None]] = {}
    for element in container.xml(name):
        identifier = attribute(element, "styleId") if local(element) == "style" else None
        if identifier is None:
            continue
        based = _child(element, "basedOn")
        named = _child(element, "name")
        label = (attribute(named, "val") or "") if named is not None else ""
        match = _HEADING_NAME.match(label) or _HEADING_NAME.match(identifier)
        heading = int(match.group(1)) if match else 1 if label.lower() == "title" else _outline(element)
        listed = _child(element, "pPr", "numPr") is not None or label.lower().startswith("list ")
        raw[identifier] = (_Style(heading, listed), attribute(based, "val") if based is not None else None)
    return {identifier: _inherited(identifier, raw) for identifier in raw}


def _inherited(identifier: str, raw: dict[str, tuple[_Style, str | None]]) -> _Style:
    heading, listed = 0, False
    current: str | None = identifier
    for _ in range(12):  # a chain of styles may be a circle in a broken file
        if current is None or current not in raw:
            break
        style, current = raw[current]
        heading = heading or style.heading
        listed = listed or style.listed
    return _Style(heading, listed)


def _outline(element: Any) -> int:
    level = _child(element, "pPr", "outlineLvl")
    value = attribute(level, "val") if level is not None else None
    return int(value) + 1 if value is not None and value.isdigit() and int(value) < 9 else 0


class _Walker:
    """Turns elements into pieces."""

    def __init__(self, styles: dict[str, _Style]) -> None:
        self._styles = styles

    def blocks(self, container: Any, depth: int = 0) -> list[Piece]:
        """The blocks of a body, cell, note or content control, in order."""
        if depth > _MAX_DEPTH:
            return []
        pieces: list[Piece] = []
        for element in container:
            match local(element):
                case "p":
                    pieces += self._paragraph(element, depth)
                case "tbl":
                    pieces += self._table(element, depth)
                case "sdt" | "sdtContent" | "ins" | "moveTo" | "customXml" | "smartTag" | "txbxContent":
                    pieces += self.blocks(element, depth + 1)
        return pieces

    def _table(self, element: Any, depth: int) -> list[Piece]:
        pieces: list[Piece] = []
        for row in _descend(element, "tr"):
            cells = [self.blocks(cell, depth + 1) for cell in _descend(row, "tc")]
            pieces += row_pieces(cells, header=_child(row, "trPr", "tblHeader") is not None)
        mark_header(pieces)
        return pieces

    def _paragraph(self, element: Any, depth: int) -> list[Piece]:
        parts: list[str] = []
        boxes: list[Any] = []
        for item in _runs(element, boxes):
            parts.append(item)
        text = collapse("".join(parts))
        pieces = [self._piece(element, text)] if text else []
        for box in boxes:
            pieces += self.blocks(box, depth + 1)
        return pieces

    def _piece(self, element: Any, text: str) -> Piece:
        properties = _child(element, "pPr")
        if properties is None:
            return Piece("paragraph", text)
        named = _child(properties, "pStyle")
        style = self._styles.get((attribute(named, "val") or "") if named is not None else "", _Style())
        level = _outline(element) or style.heading
        if level and len(text) <= 300:
            return Piece("heading", collapse(text, keep_breaks=False), level)
        numbering = _child(properties, "numPr")
        if numbering is not None or style.listed:
            depth = _child(numbering, "ilvl") if numbering is not None else None
            value = (attribute(depth, "val") or "0") if depth is not None else "0"
            return Piece("list_item", text, int(value) + 1 if value.isdigit() else 1)
        return Piece("paragraph", text)


def _descend(element: Any, wanted: str) -> Iterator[Any]:
    """Rows or cells, also inside content controls and tracked insertions."""
    for child in element:
        tag = local(child)
        if tag == wanted:
            yield child
        elif tag in ("sdt", "sdtContent", "ins", "customXml"):
            yield from _descend(child, wanted)


def _runs(paragraph: Any, boxes: list[Any]) -> Iterator[str]:
    """The text of a paragraph; text boxes on the way are put into `boxes`. No recursion: depth is hostile."""
    stack = [iter(paragraph)]
    while stack:
        element = next(stack[-1], None)
        if element is None:
            stack.pop()
            continue
        tag = local(element)
        if tag == "t":
            yield element.text or ""
        elif tag == "tab":
            yield "\t"
        elif tag in ("br", "cr"):
            yield "\n"
        elif tag == "noBreakHyphen":
            yield "-"
        elif tag == "sym":
            yield "•"
        elif tag == "txbxContent":
            boxes.append(element)
        elif tag == "AlternateContent":
            choice = _child(element, "Choice")
            stack.append(iter(choice if choice is not None else element))
        elif tag and tag not in _SKIPPED:
            stack.append(iter(element))


def _title(container: Container) -> str | None:
    name = "docProps/core.xml"
    if name not in container:
        return None
    try:
        element = _child(container.xml(name), "title")
    except (ParseError, etree.XMLSyntaxError):  # a title is a courtesy
        return None
    return (collapse(element.text or "", keep_breaks=False)[:300] or None) if element is not None else None
