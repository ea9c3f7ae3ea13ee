"""What stands above a chunk (headings, the header row of its table), and the text embedded with that."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from ingest.parsers.builder import heading_label, letters_and_digits

_MAX_HEADER = 600  # characters of a table's header row that are repeated
_GLANCE = 64  # characters that tell most openings from a heading
_BLANKS = re.compile(r"[^\S\n ][^\S\n]*| [^\S\n]+")
"""Every run of blanks within a line but the single space, which nearly all of them are."""


class ChunkLike(Protocol):
    """A chunk or a row of the catalogue that stands for one."""

    @property
    def start(self) -> int: ...
    @property
    def end(self) -> int: ...
    @property
    def headings(self) -> Sequence[str]: ...


@dataclass(slots=True)
class Atom:
    """What is kept whole. It reaches to the start of the next atom."""

    start: int
    cut: float
    level: int = 0  # of a heading; 0 for anything else
    row: int = 0  # 1 for a row of a table, 2 for its header row


def embedding_text(chunk: ChunkLike, text: str, title: str | None) -> str:
    """What is embedded for a chunk: title, heading path, and its text without page breaks and layout blanks.

    Headings that the chunk itself starts with are not said twice, nor is a title that is also a heading.
    """
    lines = _BLANKS.sub(" ", text[chunk.start : chunk.end]).split("\n")
    body = "\n".join(line for each in lines if (line := each.strip()))
    headings = list(chunk.headings)
    keys = [letters_and_digits(heading) for heading in headings]
    for kept in range(len(headings)):
        if _opens_with(body, "".join(keys[kept:])):
            del headings[kept:]
            break
    named = (title or "").strip()[:120]
    seen = letters_and_digits(named)
    if named and (seen in keys or _opens_with(body, seen)):
        named = ""
    # The last one may be the header row of a table, whose columns all count.
    path = " > ".join([*(heading[:120] for heading in headings[-4:-1]), *headings[-1:]])
    return "\n".join(part for part in (named, path, body) if part)


def _opens_with(body: str, letters: str) -> bool:
    """Whether the first thousand characters begin with these letters and digits."""
    first = letters_and_digits(body[:_GLANCE])
    if not (first.startswith(letters) or letters.startswith(first)):
        return False  # most texts are told by this
    return letters_and_digits(body[:1000]).startswith(letters)


def headers_in_force(text: str, atoms: Sequence[Atom], *, loose: bool) -> list[tuple[int, int]]:
    """For each atom the range of the header row above it in its table; (0, 0) where there is none.

    A table ends with its rows; where `loose` (formats that show lines only, not tables), short lines between
    rows do not end it.
    """
    found: list[tuple[int, int]] = []
    header = (0, 0)
    inside = False  # whether the header row itself goes on
    strangers = 0  # atoms since the last row
    for number, atom in enumerate(atoms):
        end = atoms[number + 1].start if number + 1 < len(atoms) else len(text)
        if atom.row == 2:
            header = (header[0] if inside else atom.start, end)
            found.append((0, 0))
        else:
            strangers = 0 if atom.row else strangers + 1
            ends = not loose or strangers > 2 or end - atom.start > 100 or 0 < atom.level < 4
            if not atom.row and ends:
                header = (0, 0)
            found.append(header)
        inside = atom.row == 2
    return [(start, min(end, start + _MAX_HEADER)) for start, end in found]


def paths_of(
    text: str, atoms: list[Atom], firsts: list[int], headers: list[tuple[int, int]], *, markdown: bool
) -> list[tuple[str, ...]]:
    """For each chunk the heading path of its first atom that is no heading, and the header of its table."""
    paths: list[tuple[str, ...]] = []
    stack: list[tuple[int, str]] = []
    wanted = iter([*firsts, len(atoms)])
    upcoming = next(wanted)
    waiting = False
    for number, atom in enumerate(atoms):
        if number == upcoming:
            if waiting:
                paths.append(tuple(label for _, label in stack))
            waiting, upcoming = True, next(wanted)
        if atom.level:
            end = atoms[number + 1].start if number + 1 < len(atoms) else len(text)
            while stack and stack[-1][0] >= atom.level:
                stack.pop()
            label = heading_label(text[atom.start : end], markdown=markdown)
            if label:
                stack.append((atom.level, label))
        elif waiting:
            header = " ".join(text[slice(*headers[number])].split())
            paths.append((*(label for _, label in stack), *([header] if header else ())))
            waiting = False
    if waiting:
        paths.append(tuple(label for _, label in stack))
    return paths
