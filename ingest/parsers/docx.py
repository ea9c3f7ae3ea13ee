"""DOCX: paragraphs, headings, lists, tables row by row, notes; headers and footers where the body has little.

Read from the parts' XML with lxml, because python-docx passes over text in content controls, text boxes,
tracked insertions and notes, and unpacks every part. Nothing outside the container is ever followed.
"""

from __future__ import annotations

import posixpath
import re
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lxml import etree

from ingest.errors import ParseError
from ingest.parsers.base import Reading
from ingest.parsers.builder import Piece, collapse, join_pieces, raise_if_starved, row_pieces

MAX_PART_BYTES = 64 << 20
MAX_TOTAL_BYTES = 512 << 20
_LITTLE_TEXT = 200
_MAX_DEPTH = 60

_HEADING_NAME = re.compile(
    r"(?:heading|überschrift|titre|título|titolo|rubrik|kop)\s*([1-9])$", re.IGNORECASE
)
_SKIPPED = frozenset(
    {"del", "moveFrom", "instrText", "delText", "rPr", "pPr", "sectPr", "tblPr", "trPr", "tcPr"}
)


def read(path: Path) -> Reading:
    """A reading of a DOCX without pages. Raises ParseError: `corrupt`, `too_large`, `encrypted`."""
    try:
        with zipfile.ZipFile(path) as archive:
            return _read(_Container(archive))
    except (zipfile.BadZipFile, EOFError, OSError, NotImplementedError, zlib.error) as error:
        raise ParseError("corrupt", f"The DOCX container is damaged ({error}). Export it again.") from error
    except etree.XMLSyntaxError as error:
        raise_if_starved(error)
        raise ParseError(
            "corrupt", f"The DOCX holds XML that does not parse ({error}). Export it again."
        ) from error


class _Container:
    """The parts of the container, each read only after its declared size was checked."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive
        self._infos = {info.filename: info for info in archive.infolist()}
        self._budget = MAX_TOTAL_BYTES

    def __contains__(self, name: str) -> bool:
        return name in self._infos

    def names(self) -> list[str]:
        return list(self._infos)

    def xml(self, name: str) -> Any:
        """The root element of a part. Raises ParseError `too_large`, `encrypted`."""
        info = self._infos[name]
        if info.flag_bits & 1:
            raise ParseError("encrypted", "The DOCX container is encrypted. Save it without a password.")
        if info.file_size > min(MAX_PART_BYTES, self._budget):
            raise ParseError(
                "too_large",
                f"{name} unpacks to {info.file_size >> 20} MiB, the limit is {MAX_PART_BYTES >> 20} MiB. "
                "Split the document.",
            )
        with self._archive.open(info) as part:
            content = part.read(MAX_PART_BYTES + 1)
        if len(content) > MAX_PART_BYTES:
            raise ParseError(
                "too_large", f"{name} unpacks to more than {MAX_PART_BYTES >> 20} MiB, unlike it says."
            )
        self._budget -= len(content)
        parser = etree.XMLParser(
            resolve_entities=False, no_network=True, load_dtd=False, dtd_validation=False, huge_tree=False
        )
        return etree.fromstring(content, parser)


@dataclass(frozen=True, slots=True)
class _Style:
    heading: int = 0
    listed: bool = False


def _read(container: _Container) -> Reading:
    main = _main_part(container)
    folder = posixpath.dirname(main)
    walker = _Walker(_styles(container, folder))
    root = container.xml(main)
    body = next((child for child in root if _tag(child) == "body"), root)
    pieces = walker.blocks(body)
    for notes in ("footnotes.xml", "endnotes.xml"):
        name = f"{folder}/{notes}"
        if name in container:
            for note in container.xml(name):
                if _attribute(note, "type") in (None, "normal"):
                    pieces += walker.blocks(note)
    if sum(len(piece.text) for piece in pieces) < _LITTLE_TEXT:
        pieces = [
            *_edges(container, folder, walker, "header"),
            *pieces,
            *_edges(container, folder, walker, "footer"),
        ]
    return Reading(_MEDIA_TYPE, _title(container), None, iter((join_pieces(pieces),)))


_MEDIA_TYPE = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"


def _main_part(container: _Container) -> str:
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


def _edges(container: _Container, folder: str, walker: _Walker, kind: str) -> list[Piece]:
    names = sorted(n for n in container.names() if re.fullmatch(rf"{re.escape(folder)}/{kind}\d*\.xml", n))
    pieces = [piece for name in names for piece in walker.blocks(container.xml(name))]
    unique = {piece.text: piece for piece in pieces}
    return list(unique.values())


def _tag(element: Any) -> str:
    """The name without its namespace; empty for comments, instructions and unresolved entities."""
    tag = element.tag
    return tag.rpartition("}")[2] if isinstance(tag, str) else ""


def _attribute(element: Any, name: str) -> str | None:
    for key, value in element.attrib.items():
        if key.rpartition("}")[2] == name:
            return str(value)
    return None


def _child(element: Any, *path: str) -> Any:
    for name in path:
        element = (
            next((child for child in element if _tag(child) == name), None) if element is not None else None
        )
    return element


def _styles(container: _Container, folder: str) -> dict[str, _Style]:
    name = f"{folder}/styles.xml"
    if name not in container:
        return {}
    raw: dict[str, tuple[_Style, str | None]] = {}
    for element in container.xml(name):
        identifier = _attribute(element, "styleId") if _tag(element) == "style" else None
        if identifier is None:
            continue
        based = _child(element, "basedOn")
        named = _child(element, "name")
        label = (_attribute(named, "val") or "") if named is not None else ""
        match = _HEADING_NAME.match(label) or _HEADING_NAME.match(identifier)
        heading = int(match.group(1)) if match else 1 if label.lower() == "title" else _outline(element)
        listed = _child(element, "pPr", "numPr") is not None or label.lower().startswith("list ")
        raw[identifier] = (_Style(heading, listed), _attribute(based, "val") if based is not None else None)
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
    value = _attribute(level, "val") if level is not None else None
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
            match _tag(element):
                case "p":
                    pieces += self._paragraph(element, depth)
                case "tbl":
                    for row in _descend(element, "tr"):
                        pieces += row_pieces([self.blocks(cell, depth + 1) for cell in _descend(row, "tc")])
                case "sdt" | "sdtContent" | "ins" | "moveTo" | "customXml" | "smartTag" | "txbxContent":
                    pieces += self.blocks(element, depth + 1)
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
        style = self._styles.get((_attribute(named, "val") or "") if named is not None else "", _Style())
        level = _outline(element) or style.heading
        if level and len(text) <= 300:
            return Piece("heading", collapse(text, keep_breaks=False), level)
        numbering = _child(properties, "numPr")
        if numbering is not None or style.listed:
            depth = _child(numbering, "ilvl") if numbering is not None else None
            value = (_attribute(depth, "val") or "0") if depth is not None else "0"
            return Piece("list_item", text, int(value) + 1 if value.isdigit() else 1)
        return Piece("paragraph", text)


def _descend(element: Any, wanted: str) -> Iterator[Any]:
    """Rows or cells, also inside content controls and tracked insertions."""
    for child in element:
        tag = _tag(child)
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
        tag = _tag(element)
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


def _title(container: _Container) -> str | None:
    name = "docProps/core.xml"
    if name not in container:
        return None
    try:
        element = _child(container.xml(name), "title")
    except (ParseError, etree.XMLSyntaxError):  # a title is a courtesy
        return None
    return (collapse(element.text or "", keep_breaks=False)[:300] or None) if element is not None else None
