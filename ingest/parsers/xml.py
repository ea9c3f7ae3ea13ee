"""XML: elements with text as lines `name: text` where they are records, as paragraphs where they are prose.

The parser resolves no entity, loads no document type and opens no connection; depth costs no recursion.
"""

from __future__ import annotations

from typing import Any

from lxml import etree

from ingest.errors import ParseError
from ingest.parsers import html, opendocument
from ingest.parsers.base import Reading
from ingest.parsers.builder import collapse, raise_if_starved, row_of
from ingest.parsers.containers import local, safe_parser
from ingest.parsers.joiner import Joiner
from ingest.parsers.source import Context, Source

_HEADINGS = frozenset({"title", "head", "heading", "subtitle", "chaptertitle", "h1", "h2", "h3"})
_PROSE = frozenset({"para", "p", "simpara", "ab", "seg", "li", "quote", "note"})
_ROWS = frozenset({"row", "tr"})
_CELLS = frozenset({"entry", "td", "th", "cell"})
_LAYOUT = frozenset(
    {*_PROSE, *_ROWS, *_CELLS, "table", "informaltable", "tgroup", "colspec", "thead", "tbody"}
)
_FLAT = "urn:oasis:names:tc:opendocument:xmlns:office:1.0"
_LONG = 200
MAX_BYTES = 128 << 20


def read(source: Source, context: Context) -> Reading:
    """A reading without pages, save for flat OpenDocument. Raises ParseError: `corrupt`, `too_large`."""
    if source.size > MAX_BYTES:
        raise ParseError(
            "too_large",
            f"The XML has {source.size >> 20} MiB, the limit is {MAX_BYTES >> 20}. Split it.",
        )
    data = source.read()
    try:
        root = etree.fromstring(data, safe_parser())
    except etree.XMLSyntaxError as error:
        raise_if_starved(error)
        raise ParseError("corrupt", f"The XML does not parse ({error}). Export it again.") from error
    except ValueError as error:
        raise ParseError("corrupt", f"The XML does not parse ({error}). Export it again.") from error
    if local(root) == "html":
        return html.read(data)
    if root.tag == f"{{{_FLAT}}}document":
        return opendocument.read_tree(root, context)
    joiner = Joiner()
    title = _write(root, joiner)
    return Reading("application/xml", title, None, iter((joiner.done(),)))


def _write(root: Any, joiner: Joiner) -> str | None:
    """Appends a tree, an element at a time; returns its first title."""
    title: str | None = None
    lines: list[str] = []
    stack: list[tuple[Any, int]] = [(root, 0)]

    def flush() -> None:
        joiner.add("code", "\n".join(lines))
        lines.clear()

    while stack:
        element, depth = stack.pop()
        name = local(element)
        children = [child for child in element if local(child)]
        mixed = _is_mixed(element, children)
        if name in _ROWS and children and all(local(child) in _CELLS for child in children):
            flush()
            named = local(element.getparent()) == "thead" or all(local(child) == "th" for child in children)
            joiner.pieces(row_of([_text(child) for child in children], header=named))
        elif not children or mixed:
            text = _text(element)
            if name.lower() in _HEADINGS and text and len(text) <= _LONG and not mixed:
                flush()
                joiner.heading(text, min(depth, 6) or 1)
                title = title or text
            elif mixed or len(text) > _LONG or (name in _PROSE and text):
                flush()
                joiner.paragraph(text)
            elif text or name not in _LAYOUT:
                lines += _record(element, name, text)
        else:
            flush()
            lines += [] if name in _LAYOUT else _record(element, name, "")
            stack += [(child, depth + 1) for child in reversed(children)]
    flush()
    return title[:300] if title else None


def _is_mixed(element: Any, children: list[Any]) -> bool:
    """Whether text stands between an element's children: that is prose."""
    own = [element.text, *(child.tail for child in element)]
    return bool(children) and any(part and part.strip() for part in own)


def _text(element: Any) -> str:
    return collapse("".join(element.itertext()), keep_breaks=False)


def _record(element: Any, name: str, text: str) -> list[str]:
    """A record's line, and one for each of its attributes."""
    shown = [
        f"{name} {key.rpartition('}')[2]}: {collapse(value, keep_breaks=False)}"
        for key, value in element.attrib.items()
        if value.strip() and not key.startswith("{http://www.w3.org/")
    ]
    return [*shown, f"{name}: {text}"] if text else shown
