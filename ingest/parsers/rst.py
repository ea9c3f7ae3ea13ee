"""reStructuredText, as docutils reads it with file inclusion and raw content off: its text with structure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ingest.parsers.base import Reading
from ingest.parsers.builder import Piece, collapse, mark_header, row_pieces
from ingest.parsers.joiner import Joiner

MAX_CHARACTERS = 5_000_000
_MAX_DEPTH = 60
_SETTINGS = {
    "file_insertion_enabled": False,
    "raw_enabled": False,
    "_disable_config": True,
    "report_level": 5,
    "halt_level": 6,
    "warning_stream": False,
    "line_length_limit": 100_000,
    "smart_quotes": False,
}


def read(source: str, _media_type: str = "") -> Reading | None:
    """A reading without pages, or None for what docutils does not take: it is plain text then."""
    from docutils.core import publish_doctree  # noqa: PLC0415

    if len(source) > MAX_CHARACTERS:
        return None
    try:
        tree = publish_doctree(source, settings_overrides=_SETTINGS)
    except (MemoryError, KeyboardInterrupt):
        raise
    except (Exception, SystemExit):  # docutils ends the program on what it cannot take
        return None
    joiner = Joiner()
    joiner.pieces(_blocks(tree, 0, 0, 0))
    if not joiner.characters:
        return None
    title = collapse(str(tree.get("title") or ""), keep_breaks=False)[:300]
    return Reading("text/x-rst", title or None, None, iter((joiner.done(),)))


def _blocks(node: Any, depth: int, rank: int, items: int) -> Iterator[Piece]:
    """The blocks below a node; `rank` is the depth of sections, `items` that of lists."""
    if depth > _MAX_DEPTH:
        return
    for child in node.children:
        match child.tagname:
            case "section":
                yield from _blocks(child, depth + 1, rank + 1, items)
            case "title" | "subtitle" | "rubric":
                level = max(1, rank + 1 + (child.tagname != "title"))
                yield Piece("heading", collapse(child.astext(), keep_breaks=False), level)
            case "paragraph" | "term" | "caption" | "attribution" | "line":
                kind = "list_item" if items else "paragraph"
                yield Piece(kind, collapse(child.astext()), items)  # type: ignore[arg-type]
            case "literal_block" | "doctest_block" | "math_block":
                yield Piece("code", child.astext().strip("\n"))
            case "bullet_list" | "enumerated_list" | "definition_list":
                for item in child.children:
                    yield from _blocks(item, depth + 1, rank, items + 1)
            case "table":
                yield from _table(child, depth)
            case "system_message" | "comment" | "substitution_definition" | "target" | "pending" | "#text":
                pass
            case "field" | "docinfo_item" | "author" | "date" | "version" | "status":
                yield Piece("paragraph", collapse(child.astext(), keep_breaks=False))
            case _:
                yield from _blocks(child, depth + 1, rank, items)


def _table(table: Any, depth: int) -> Iterator[Piece]:
    pieces: list[Piece] = []
    for group in table.children:
        if group.tagname == "title":
            pieces.append(Piece("paragraph", collapse(group.astext(), keep_breaks=False)))
        for part in group.children if group.tagname == "tgroup" else ():
            for row in part.children if part.tagname in ("thead", "tbody") else ():
                cells = [list(_blocks(entry, depth + 1, 0, 0)) for entry in row.children]
                pieces += row_pieces(cells, header=part.tagname == "thead")
    mark_header(pieces)
    yield from pieces
