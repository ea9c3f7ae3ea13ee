"""JSON and JSON Lines: values as lines `path: value`, objects as blocks, names as headings.

Numbers keep the digits of the file.
"""

from __future__ import annotations

import json
from typing import Any

from ingest.parsers.base import Reading
from ingest.parsers.joiner import Joiner

_HEADING_DEPTH = 4


def read(source: str, media_type: str) -> Reading | None:
    """A reading without pages, or None for what is no JSON after all: it is plain text then."""
    if media_type == "application/jsonl":
        return _lines(source)
    try:
        value = _load(source)
    except (ValueError, RecursionError):
        return _lines(source)
    if isinstance(value, dict) and isinstance(value.get("cells"), list) and "nbformat" in value:
        from ingest.parsers import notebook  # noqa: PLC0415

        return notebook.read(value)
    if not isinstance(value, dict | list):
        return None
    joiner = Joiner()
    _write(value, joiner)
    return Reading("application/json", None, None, iter((joiner.done(),))) if joiner.characters else None


def _load(source: str) -> Any:
    return json.loads(source, parse_float=str, parse_int=str, parse_constant=str)


def _lines(source: str) -> Reading | None:
    """One value a line; None unless at least one line is one and nine of ten are."""
    joiner = Joiner()
    good = bad = 0
    for line in source.splitlines():
        if not line.strip():
            continue
        try:
            value = _load(line)
        except (ValueError, RecursionError):
            bad += 1
            joiner.paragraph(line.strip())
            continue
        good += isinstance(value, dict | list)
        _write(value, joiner)
    if not good or bad * 9 > good:
        return None
    return Reading("application/jsonl", None, None, iter((joiner.done(),)))


def _write(root: Any, joiner: Joiner) -> None:
    """Appends a value. An explicit stack: how deep a file nests is the file's choice."""
    stack: list[tuple[str, Any, int]] = [("", root, 1)]
    while stack:
        path, value, depth = stack.pop()
        if isinstance(value, _Heading):
            joiner.heading(value.label, depth)
            value, depth = value.value, depth + 1
        if isinstance(value, dict):
            items = [(str(key), inner) for key, inner in value.items()]
        elif isinstance(value, list):
            items = [(str(number), inner) for number, inner in enumerate(value, 1)]
        else:
            joiner.add("code", f"{path}: {_scalar(value)}" if path else _scalar(value))
            continue
        plain = [(key, inner) for key, inner in items if not _is_nested(inner)]
        nested = [(key, inner) for key, inner in items if _is_nested(inner)]
        if isinstance(value, list) and plain:
            joiner.add("code", "\n".join(_scalar(inner) for _, inner in plain))
        elif plain:
            prefix = f"{path}." if path else ""
            joiner.add("code", "\n".join(f"{prefix}{key}: {_scalar(inner)}" for key, inner in plain))
        for key, inner in reversed(nested):
            named = not isinstance(value, list)
            if named and depth <= _HEADING_DEPTH:
                stack.append(("", _Heading(key, inner), depth))
            else:
                stack.append(
                    (f"{path}.{key}" if path and named else key if named else path, inner, depth + 1)
                )
        while stack and isinstance(stack[-1][1], _Heading):
            _, heading, rank = stack.pop()
            joiner.heading(heading.label, rank)
            stack.append(("", heading.value, rank + 1))


class _Heading:
    """A value that is headed by its name."""

    def __init__(self, label: str, value: Any) -> None:
        self.label = label
        self.value = value


def _is_nested(value: Any) -> bool:
    """Whether a value needs blocks of its own; short lists of plain values stay on a line."""
    if isinstance(value, dict):
        return bool(value)
    return isinstance(value, list) and (len(value) > 20 or any(isinstance(one, dict | list) for one in value))


def _scalar(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return ", ".join(_scalar(one) for one in value)
    return (
        {None: "null", True: "true", False: "false"}.get(value, "") if not isinstance(value, dict) else "{}"
    )
