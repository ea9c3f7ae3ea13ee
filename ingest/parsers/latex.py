"""LaTeX: sections as headings, items, rows of tables; text as pylatexenc renders it, mathematics as written.

Nothing is compiled, no file is included, no macro of the document is run.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from ingest.parsers.base import Reading
from ingest.parsers.builder import Piece, collapse, mark_header, row_of
from ingest.parsers.joiner import Joiner

_MAX_PARAGRAPH = 20_000
"""Characters of one paragraph that are rendered; a longer one is kept as it is written."""
_COMMENT = re.compile(r"(?<!\\)((?:\\\\)*)%[^\n]*")
_BODY = re.compile(r"\\begin\{document\}(.*?)(?:\\end\{document\}|\Z)", re.DOTALL)
_RANKS = {
    "part": 1,
    "chapter": 1,
    "section": 2,
    "subsection": 3,
    "subsubsection": 4,
    "paragraph": 5,
    "subparagraph": 6,
}
_MARK = re.compile(
    r"\\(?P<rank>part|chapter|(?:sub){0,2}section|(?:sub)?paragraph)\*?(?:\[[^\]]*\])?\{"
    r"|\\begin\{(?P<env>tabular[x*]?|longtable|verbatim|lstlisting|minted|equation\*?|align\*?|gather\*?)\}"
    r"|\\item\b(?:\[(?P<label>[^\]]*)\])?|(?P<gap>\n[ \t]*\n)"
    r"|\\(?:begin|end)\{(?:itemize|enumerate|description|abstract|quote|quotation|center|Shaded|Highlighting|figure\*?|table\*?)\}(?:\[[^\]]*\])?"
)
_GONE = re.compile(
    r"\\(?:label|hypertarget|input|include|includegraphics|bibliography|bibliographystyle|usepackage|vspace|hspace|write18"
    r"|immediate|centering|maketitle|tableofcontents|newpage|clearpage|noindent)\*?(?:\[[^\]]*\])?(?:\{[^{}]*\})?"
)
_ROW_END = re.compile(
    r"\\\\(?:\[[^\]]*\])?|\\(?:hline|toprule|midrule|bottomrule|cline\{[^}]*\}|endhead|endfoot)\b"
)
_CODE = ("verbatim", "lstlisting", "minted")


def read(source: str, _media_type: str = "") -> Reading:
    """A reading without pages; the title is that of the preamble."""
    plain = _COMMENT.sub(r"\1", source.replace("\r\n", "\n").replace("\r", "\n"))
    render = _Renderer()
    found = _BODY.search(plain)
    body = found.group(1) if found else plain
    joiner = Joiner()
    title = _argument(plain, plain.find("\\title{") + 7)[0] if "\\title{" in plain else ""
    title = collapse(render(title), keep_breaks=False)[:300]
    joiner.heading(title, 1)
    joiner.pieces(_pieces(body, render))
    return Reading("application/x-latex", title or None, None, iter((joiner.done(),)))


class _Renderer:
    """Renders LaTeX as text; what the library does not take is kept as it is written."""

    def __init__(self) -> None:
        import logging  # noqa: PLC0415

        from pylatexenc.latex2text import LatexNodes2Text  # noqa: PLC0415

        logging.getLogger("pylatexenc").setLevel(logging.CRITICAL)
        self._convert = LatexNodes2Text(math_mode="verbatim", keep_comments=False).latex_to_text

    def __call__(self, source: str) -> str:
        if "\\" not in source and not any(mark in source for mark in "{}~$`'"):
            return source
        if len(source) > _MAX_PARAGRAPH or source.count("{") > 500:
            return source
        try:
            return str(self._convert(source))
        except (MemoryError, KeyboardInterrupt):
            raise
        except Exception:
            return source


def _argument(text: str, start: int) -> tuple[str, int]:
    """What stands between the brace before `start` and the one that closes it, and the place after that."""
    depth = 1
    for match in re.compile(r"\\.|[{}]", re.DOTALL).finditer(text, start, start + 2000):
        depth += {"{": 1, "}": -1}.get(match.group(), 0)
        if depth == 0:
            return text[start : match.start()], match.end()
    return "", start


def _pieces(body: str, render: _Renderer) -> Iterator[Piece]:
    at = 0
    kind_item, label = False, ""
    while True:
        mark = _MARK.search(body, at)
        stretch = body[at : mark.start() if mark else len(body)]
        text = collapse(render(_GONE.sub(" ", stretch)), keep_breaks=False)
        if text:
            yield Piece("list_item" if kind_item else "paragraph", f"{label} {text}".strip(), int(kind_item))
        if mark is None:
            return
        at = mark.end()
        kind_item, label = mark.group().startswith("\\item"), (mark.group("label") or "").strip()
        if mark.group("rank"):
            heading, at = _argument(body, at)
            yield Piece("heading", collapse(render(heading), keep_breaks=False), _RANKS[mark.group("rank")])
        elif mark.group("env"):
            name = mark.group("env")
            end = body.find(f"\\end{{{name}}}", at)
            inner = body[at : end if end >= 0 else len(body)]
            at = end + len(name) + 6 if end >= 0 else len(body)
            yield from _environment(name, inner, render)


def _environment(name: str, inner: str, render: _Renderer) -> Iterator[Piece]:
    if name in _CODE:
        yield Piece("code", inner.strip("\n"))
    elif name.startswith(("tabular", "longtable")):
        rows = inner
        for _ in range(2 if name in ("tabularx", "tabular*") else 1):  # width, columns
            argument = re.match(r"\s*(?:\[[^\]]*\])?\s*\{", rows)
            rows = rows[_argument(rows, argument.end())[1] :] if argument else rows
        pieces: list[Piece] = []
        for row in _ROW_END.split(rows):
            cells = re.split(r"(?<!\\)&", row)
            pieces += row_of([collapse(render(_GONE.sub(" ", cell)), keep_breaks=False) for cell in cells])
        mark_header(pieces)
        yield from pieces
    else:
        yield Piece("paragraph", collapse(_GONE.sub(" ", inner), keep_breaks=False))
