"""Source code: the file stays as it is; lines that define something are headings of what follows."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ingest.parsers.base import Block, ParsedPage, Reading

_MODIFIERS = (
    r"(?:(?:export|default|public|private|protected|internal|static|abstract|final|sealed|async|pub(?:\(crate\))?"
    r"|unsafe|open|override|virtual|inline|partial)\s+)*"
)
_SYMBOL = re.compile(
    rf"""^(?P<indent>[ \t]*)(?:
      {_MODIFIERS}(?:class|interface|struct|enum|trait|protocol|namespace|module|record|object)\s+[A-Za-z_$][\w$.]*
    | {_MODIFIERS}(?:def|fn|func|fun|function|sub|procedure)\s+[A-Za-z_$(][^\n]*
    | impl\b[^\n;]*
    | (?:export\s+)?(?:const|let|var)\s+[A-Za-z_$][\w$]*\s*=\s*(?:async\s*)?\([^\n]*=>[^\n]*
    | (?i:create\s+(?:or\s+replace\s+)?(?:table|view|function|procedure|trigger))\s+[^\n]+
    | [A-Za-z_][\w\s*&:<>,~]*\b[A-Za-z_]\w*\s*\([^;\n{{}}]*\)\s*(?:const\s*)?\{{
    | \[{{1,2}}[\w.:"' -]+\]{{1,2}}
    )[^\n]*$""",
    re.MULTILINE | re.VERBOSE,
)
_STATEMENT = re.compile(r"\s*(?:if|for|while|switch|catch|return|else|do|try|with|elif|case)\b")
_MAX_LINE = 300


def read(source: str, _media_type: str = "") -> Reading:
    """A reading of the source verbatim, without pages."""
    return Reading("text/plain", None, None, iter((ParsedPage(source, tuple(blocks(source))),)))


def blocks(source: str) -> Iterator[Block]:
    """Headings (deeper by indentation) and the code between them, in order."""
    at = 0
    for match in _lines(source):
        start, end = match
        line = source[start:end]
        if len(line) > _MAX_LINE or _STATEMENT.match(line) or not _SYMBOL.match(line):
            continue
        yield from _code(source, at, start)
        indent = len(line.expandtabs(4)) - len(line.expandtabs(4).lstrip())
        first = start + len(line) - len(line.lstrip())
        last = start + len(line.rstrip())
        yield Block("heading", first, last, 3 + min(indent // 2, 6))
        at = end
    yield from _code(source, at, len(source))


def _lines(source: str) -> Iterator[tuple[int, int]]:
    start = 0
    for line in source.splitlines(keepends=True):
        yield start, start + len(line.rstrip("\r\n"))
        start += len(line)


def _code(source: str, start: int, end: int) -> Iterator[Block]:
    stretch = source[start:end]
    if stretch.strip():
        lead = len(stretch) - len(stretch.lstrip())
        yield Block("code", start + lead, start + len(stretch.rstrip()))
