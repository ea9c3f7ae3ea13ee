"""Jupyter notebooks (nbformat 3 and 4): Markdown cells as written, code, and the text of outputs."""

from __future__ import annotations

from typing import Any

from ingest.parsers import markdown
from ingest.parsers.base import Reading
from ingest.parsers.builder import clean
from ingest.parsers.joiner import Joiner

MEDIA_TYPE = "application/x-ipynb+json"
_MAX_OUTPUT = 20_000


def read(book: dict[str, Any]) -> Reading:
    """A reading without pages; cells that are not built as such are passed over."""
    joiner = Joiner()
    title = None
    for cell in book["cells"]:
        if not isinstance(cell, dict):
            continue
        source = _text(cell.get("source", cell.get("input")))
        if cell.get("cell_type") == "markdown":
            reading = markdown.read(source)
            title = title or reading.title
            for page in reading.pages:
                joiner.page(page)
            continue
        joiner.add("code" if cell.get("cell_type") == "code" else "paragraph", source.strip("\n"))
        outputs = cell.get("outputs")
        for output in outputs if isinstance(outputs, list) else []:
            joiner.add("code", _shown(output)[:_MAX_OUTPUT])
    return Reading(MEDIA_TYPE, title, None, iter((joiner.done(),)))


def _text(value: Any) -> str:
    if isinstance(value, list):
        return "".join(one for one in value if isinstance(one, str))
    return value if isinstance(value, str) else ""


def _shown(output: Any) -> str:
    """The plain text of an output: what was printed, or what stands for a richer form."""
    if not isinstance(output, dict):
        return ""
    data = output.get("data")
    parts = [output.get("text"), data.get("text/plain") if isinstance(data, dict) else None]
    if output.get("output_type") == "error":
        parts.append(f"{_text(output.get('ename'))}: {_text(output.get('evalue'))}")
    return clean("\n".join(text for text in map(_text, parts) if text)).strip("\n")
