"""What the tests of the documentation share: the tables and links of a Markdown file."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def read(name: str) -> str:
    """A text file of the project, by its path from the root."""
    return (ROOT / name).read_text(encoding="utf-8")


def table(text: str, heading: str) -> list[list[str]]:
    """Rows of the first table whose first column is headed `heading`; `ValueError` without one."""
    lines = text.splitlines()
    for number, line in enumerate(lines):
        cells = _cells(line)
        if cells and cells[0] == heading:
            rows = []
            for row in lines[number + 2 :]:
                if not row.startswith("|"):
                    break
                rows.append(_cells(row))
            return rows
    raise ValueError(f"no table is headed {heading!r}")


def tables(text: str, heading: str) -> list[list[str]]:
    """Rows of all tables whose first column is headed `heading`, one after the other."""
    rows: list[list[str]] = []
    parts = re.split(rf"(?m)^(?=\| {re.escape(heading)} \|)", text)[1:]
    for part in parts:
        rows.extend(table(part, heading))
    return rows


def code(cell: str) -> str:
    """What stands between the first pair of backticks of a cell; the cell itself without them."""
    found = re.search(r"`([^`]*)`", cell)
    return found.group(1) if found else cell


def _cells(line: str) -> list[str]:
    if not line.startswith("|"):
        return []
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip().strip("|"))]
