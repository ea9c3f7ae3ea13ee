"""Plain text: the file's own text, paragraphs at blank lines, and what headings show without markup."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ingest.parsers.base import Block, ParsedPage, Reading

_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n|\Z)")
_BULLET = re.compile(r"[ \t]*(?:[-*•‣◦–][ \t]+|\(?\d{1,3}[.)][ \t]+|\(?[a-zA-Z][.)][ \t]+)\S")
_CHAPTER = re.compile(
    r"(?:chapter|part|book|section|appendix|kapitel|teil|chapitre|partie|capítulo|parte|capitolo|adventure)\s+"
    r"(?:[IVXLCDM]+|\d+|[A-Z])\b.{0,60}",
    re.IGNORECASE,
)
_NUMBERED = re.compile(r"(?:[IVXLC]+\.|\d+(?:\.\d+)*\.?)\s+[^\W\d_].{0,70}")


def read(text: str, title: str | None = None) -> Reading:
    """A reading of plain text: one page, the text as it is."""
    return Reading("text/plain", title, None, iter((ParsedPage(text, tuple(blocks(text))),)))


def blocks(text: str) -> Iterator[Block]:
    """Paragraphs, list items and headings of a plain text, in order."""
    group: list[tuple[int, int]] = []
    for match in _LINE.finditer(text):
        start, line = match.start(), match.group()
        if line.strip():
            group.append((start, start + len(line.rstrip())))
            continue
        if group:
            yield from _group(text, group)
            group = []
        if match.end() == len(text):
            break
    if group:
        yield from _group(text, group)


def _group(text: str, lines: list[tuple[int, int]]) -> Iterator[Block]:
    """The blocks of lines that no blank line parts."""
    if len(lines) == 1:
        start, end = _trim(text, *lines[0])
        level = _heading_level(text[start:end])
        if level:
            yield Block("heading", start, end, level)
            return
    open_at: int | None = None
    kind_item = False
    last = 0
    for line_start, line_end in lines:
        if _BULLET.match(text, line_start, line_end):
            if open_at is not None:
                yield _block(text, open_at, last, item=kind_item)
            open_at, kind_item = line_start, True
        elif open_at is None:
            open_at = line_start
        last = line_end
    if open_at is not None:
        yield _block(text, open_at, last, item=kind_item)


def _block(text: str, start: int, end: int, *, item: bool) -> Block:
    start, end = _trim(text, start, end)
    return Block("list_item" if item else "paragraph", start, end)


def _trim(text: str, start: int, end: int) -> tuple[int, int]:
    while start < end and text[start].isspace():
        start += 1
    while end > start and text[end - 1].isspace():
        end -= 1
    return start, end


def _heading_level(line: str) -> int:
    """1 for chapters, 2 for numbered or capital titles, 0 for anything else."""
    if len(line) > 90 or (line.endswith((".", ",", ";", ":", "?", "!")) and not _CHAPTER.fullmatch(line)):
        return 0
    if _CHAPTER.fullmatch(line):
        return 1
    letters = [c for c in line if c.isalpha()]
    capitals = sum(c.isupper() for c in letters)
    cased = sum(c.isupper() or c.islower() for c in letters)
    if len(letters) >= 4 and cased == len(letters) and capitals == len(letters):
        return 2
    if _NUMBERED.fullmatch(line) and letters and capitals >= len(letters) * 0.12:
        return 2
    return 0
