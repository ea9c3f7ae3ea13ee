"""OpenDocument (ODT, ODS, ODP): headings, lists, tables, notes; slides are pages, sheets sections.

Read from content.xml as lxml parses it: the format is one XML file, and nothing it points to is followed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ingest.errors import ParseError
from ingest.parsers.base import ParsedPage, Reading
from ingest.parsers.builder import Piece, collapse, mark_header, row_pieces
from ingest.parsers.containers import Container, attribute, container_errors, local
from ingest.parsers.joiner import Joiner
from ingest.parsers.source import Context, Source

_KIND = "application/vnd.oasis.opendocument."
_MAX_DEPTH = 60
_MAX_REPEATS = 1000
_MAX_CELLS = 2_000_000
_SKIPPED = frozenset({"tracked-changes", "annotation", "note", "forms", "sequence-decls", "bookmark"})
_NESTING = frozenset(
    {"section", "text-box", "frame", "g", "group", "index-body", "notes", "p", "h", "custom-shape"}
)


def read(source: Source, context: Context) -> Reading:
    """A reading, of slides with pages. Raises ParseError: `corrupt`, `too_large`, `encrypted`."""
    with container_errors("OpenDocument"), source.open() as file:
        container = Container(file, "OpenDocument")
        if _is_encrypted(container):
            raise ParseError(
                "encrypted", "The OpenDocument file is protected by a password. Save it without one."
            )
        kind = container.read("mimetype").decode("ascii", "replace").strip()
        return _reading(container.xml("content.xml"), kind, _title(container), context)


def read_tree(root: Any, context: Context) -> Reading:
    """A reading of a flat OpenDocument file (FODT and its kin), whose parts are one tree."""
    kind = attribute(root, "mimetype") or f"{_KIND}text"
    return _reading(root, kind, _named(root), context)


def _reading(root: Any, kind: str, title: str | None, context: Context) -> Reading:
    body = next((one for one in root.iter() if local(one) == "body"), None)
    if body is None:
        raise ParseError("corrupt", "The OpenDocument file has no body. Save it again.")
    walker = _Walker(_titled(root))
    slides = [one for part in body if local(part) == "presentation" for one in part if local(one) == "page"]
    if slides:
        if len(slides) > context.max_pages:
            raise ParseError(
                "too_large", f"The presentation has {len(slides)} slides, the limit is {context.max_pages}."
            )
        return Reading(kind, title, len(slides), map(walker.slide, slides))
    joiner = Joiner()
    for part in body:
        joiner.pieces(walker.blocks(part))
        if joiner.characters > context.max_characters:
            raise ParseError("too_large", f"The file has over {context.max_characters} characters.")
    joiner.pieces(walker.notes)
    return Reading(kind, title, None, iter((joiner.done(),)))


def _is_encrypted(container: Container) -> bool:
    name = "META-INF/manifest.xml"
    return name in container and any(local(one) == "encryption-data" for one in container.xml(name).iter())


def _title(container: Container) -> str | None:
    return _named(container.xml("meta.xml")) if "meta.xml" in container else None


def _titled(root: Any) -> frozenset[str]:
    """The names of styles that are, or come from, the style of a document's title."""
    return frozenset({"Title"}) | {
        attribute(one, "name") or ""
        for one in root.iter()
        if local(one) == "style" and attribute(one, "parent-style-name") == "Title"
    }


def _named(root: Any) -> str | None:
    for element in root.iter():
        if local(element) == "body":
            return None
        if local(element) == "title" and element.text:
            return collapse(element.text, keep_breaks=False)[:300] or None
    return None


class _Walker:
    """Turns elements into pieces; notes are gathered for the end."""

    def __init__(self, titled: frozenset[str]) -> None:
        self.notes: list[Piece] = []
        self._titled = titled
        self._cells = 0

    def slide(self, page: Any) -> ParsedPage:
        """One slide: its title as heading, and what the speaker notes."""
        joiner = Joiner()
        titles = [one for one in page if attribute(one, "class") == "title"]
        for title in titles:
            text = " ".join(piece.text for piece in self.blocks(title))
            joiner.heading(text, 1)
        rest = [one for one in page if one not in titles]
        for element in rest:
            pieces = list(self.blocks([element], 1))
            if local(element) == "notes" and any(piece.text for piece in pieces):
                joiner.heading("Notes", 2)
            joiner.pieces(pieces)
        joiner.pieces(self.notes)
        self.notes = []
        return joiner.done()

    def blocks(self, container: Any, depth: int = 0, items: int = 0) -> Iterator[Piece]:
        """The blocks of a body, cell, list item or frame, in order; `items` is the depth of lists."""
        if depth > _MAX_DEPTH:
            return
        for element in container:
            name = local(element)
            if name in ("h", "p"):
                yield from self._paragraph(element, depth, items)
            elif name == "table":
                yield from self._table(element, depth)
            elif name == "list":
                for item in element:
                    yield from self.blocks(item, depth + 1, items + 1)
            elif name in _NESTING or name not in _SKIPPED:
                yield from self.blocks(element, depth + 1, items)

    def _paragraph(self, element: Any, depth: int, items: int) -> Iterator[Piece]:
        frames: list[Any] = []
        text = collapse("".join(self._runs(element, frames, depth)))
        if local(element) == "h":
            rank = attribute(element, "outline-level") or "1"
            level = int(rank) if rank.isdigit() and len(rank) < 3 else 1
            yield Piece("heading", collapse(text, keep_breaks=False), max(1, level))
        elif attribute(element, "style-name") in self._titled and len(text) <= 300:
            yield Piece("heading", collapse(text, keep_breaks=False), 1)
        elif items:
            yield Piece("list_item", text, items)
        else:
            yield Piece("paragraph", text)
        for frame in frames:
            yield from self.blocks(frame, depth + 1)

    def _runs(self, element: Any, frames: list[Any], depth: int) -> Iterator[str]:
        """The text of a paragraph; frames on the way are put into `frames`, notes into the walker's."""
        stack: list[tuple[Any, Any]] = [(element, iter(element))]
        yield element.text or ""
        while stack:
            current, children = stack[-1]
            child = next(children, None)
            if child is None:
                stack.pop()
                yield (current.tail or "") if stack else ""
                continue
            name = local(child)
            if name == "s":
                count = attribute(child, "c") or "1"
                yield " " * (min(int(count), 100) if count.isdigit() and len(count) < 5 else 1)
            elif name in ("tab", "line-break"):
                yield "\t" if name == "tab" else "\n"
            elif name == "note":
                body = next((one for one in child if local(one) == "note-body"), None)
                self.notes += list(self.blocks(body, depth + 1)) if body is not None else []
            elif name == "frame":
                frames.append(child)
            elif name and name not in _SKIPPED:
                yield child.text or ""
                stack.append((child, iter(child)))
                continue
            yield child.tail or ""

    def _table(self, table: Any, depth: int) -> Iterator[Piece]:
        """A table; in a sheet its name is a heading, and repeated rows and cells are bounded."""
        label = attribute(table, "name") or ""
        if depth <= 1 and local(table.getparent()) == "spreadsheet" and label:
            yield Piece("heading", label, 1)
        pieces: list[Piece] = []
        for row, header in _rows(table, header=False):
            cells: list[list[Piece]] = []
            for cell in row:
                if local(cell) not in ("table-cell", "covered-table-cell"):
                    continue
                content = list(self.blocks(cell, depth + 1))
                cells += [content] * _repeats(cell, "number-columns-repeated", filled=bool(content))
            self._cells += len(cells)
            if self._cells > _MAX_CELLS:
                raise ParseError("too_large", f"The file has over {_MAX_CELLS} cells. Split it.")
            found = row_pieces(cells, header=header)
            pieces += found * _repeats(row, "number-rows-repeated", filled=bool(found))
        mark_header(pieces)
        yield from pieces


def _repeats(element: Any, name: str, *, filled: bool) -> int:
    """How often a cell or row stands there; one that is empty is enough once at a sheet's far end."""
    value = attribute(element, name) or "1"
    count = int(value) if value.isdigit() and len(value) < 10 else 1
    return min(max(count, 1), _MAX_REPEATS if filled else 100)


def _rows(table: Any, *, header: bool) -> Iterator[tuple[Any, bool]]:
    """Rows and whether they are header rows, also inside groups."""
    for child in table:
        name = local(child)
        if name == "table-row":
            yield child, header
        elif name in ("table-header-rows", "table-rows", "table-row-group"):
            yield from _rows(child, header=header or name == "table-header-rows")
