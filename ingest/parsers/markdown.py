"""Markdown: the source stays as it is; markdown-it's line maps say what is heading, item, row or code."""

from __future__ import annotations

import re

from markdown_it import MarkdownIt
from markdown_it.token import Token

from ingest.parsers.base import HEADER_ROW, Block, BlockKind, ParsedPage, Reading
from ingest.parsers.builder import heading_label

_LINE_END = re.compile(r"\r\n?|\n")  # the same rule as markdown-it's own normalisation
_FRONT_MATTER = re.compile(
    r"---[ \t]*(?:\r\n?|\n).*?(?:\r\n?|\n)(?:---|\.\.\.)[ \t]*(?:\r\n?|\n|\Z)", re.DOTALL
)
_FRONT_TITLE = re.compile(r"^title:[ \t]*[\"']?(.+?)[\"']?[ \t]*$", re.MULTILINE | re.IGNORECASE)


def read(text: str) -> Reading:
    """A reading of Markdown: the source verbatim; the title is the front matter's or the first heading."""
    found, title = _blocks(text)
    return Reading("text/markdown", title, None, iter((ParsedPage(text, tuple(found)),)))


def _blocks(text: str) -> tuple[list[Block], str | None]:
    front = _FRONT_MATTER.match(text)
    body_start = front.end() if front else 0
    title = None
    found: list[Block] = []
    if front:
        named = _FRONT_TITLE.search(front.group())
        title = named.group(1).strip() if named else None
        found.append(Block("code", 0, len(front.group().rstrip())))
    starts = [body_start, *(m.end() for m in _LINE_END.finditer(text, body_start))]
    # Inline markup is not needed, and parsing it is where a hostile file would spend its time.
    parser = MarkdownIt("commonmark", {"maxNesting": 50}).enable("table")
    parser.core.ruler.disable(["inline"])
    # Block rules know no U+0000; the decoder has replaced it already.
    for token_range, kind, level in _ranges(parser.parse(text[body_start:])):
        first, after = token_range
        if first >= len(starts):
            continue
        start = starts[first]
        end = starts[after] if after < len(starts) else len(text)
        start, end = _trim(text, max(start, found[-1].end if found else 0), end)
        if start >= end:
            continue
        found.append(Block(kind, start, end, level))
        if kind == "heading" and title is None and level <= 2:
            title = heading_label(text[start:end], markdown=True) or None
    return found, title


def _ranges(tokens: list[Token]) -> list[tuple[tuple[int, int], BlockKind, int]]:
    """Line ranges [first, after) of the leaves, in order."""
    found: list[tuple[tuple[int, int], BlockKind, int]] = []
    items: list[int] = []
    row_level = 0
    for token in tokens:
        lines = (token.map[0], token.map[1]) if token.map else None
        match token.type:
            case "list_item_open":
                items.append(lines[0] if lines else -1)
            case "list_item_close":
                items.pop()
            case "heading_open" if lines:
                found.append((lines, "heading", int(token.tag[1:])))
            case "thead_open" | "tbody_open":
                row_level = HEADER_ROW if token.type == "thead_open" else 0
            case "tr_open" if lines:
                found.append((lines, "table_row", row_level))
            case "fence" | "code_block" if lines:
                found.append((lines, "code", 0))
            case "paragraph_open" | "html_block" if lines:
                # The marker of an item is part of its first paragraph.
                first_of_item = bool(items) and items[-1] == lines[0]
                found.append((lines, "list_item" if first_of_item else "paragraph", len(items)))
    return found


def _trim(text: str, start: int, end: int) -> tuple[int, int]:
    while start < end and text[start].isspace():
        start += 1
    while end > start and text[end - 1].isspace():
        end -= 1
    return start, end
