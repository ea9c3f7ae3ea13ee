"""Regions of a page as fractions of its size, from the upper left, and boxes of letters joined to lines."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple


class Box(NamedTuple):
    """A region of a page, from the upper left corner; 0 to 1 both ways."""

    left: float
    top: float
    right: float
    bottom: float


class Glyph(NamedTuple):
    """A letter where it is drawn."""

    character: str
    box: Box


_GAP = 2.0
"""Of a line's height: what stands further apart is another column or cell."""


def joined(boxes: Iterable[Box]) -> list[Box]:
    """The boxes of a passage's letters, in its order, as one box for each line that they stand on."""
    found: list[Box] = []
    for raw in boxes:
        box = Box(*(min(1.0, max(0.0, value)) for value in raw))
        if box.right <= box.left or box.bottom <= box.top:
            continue
        if found and _goes_on(found[-1], box):
            last = found[-1]
            found[-1] = Box(
                min(last.left, box.left),
                min(last.top, box.top),
                max(last.right, box.right),
                max(last.bottom, box.bottom),
            )
        else:
            found.append(box)
    return found


def _goes_on(line: Box, box: Box) -> bool:
    """Whether a letter stands on the line, close to it: beside it, or below it where the text is turned."""
    across = _overlap(line.top, line.bottom, box.top, box.bottom)
    height = min(line.bottom - line.top, box.bottom - box.top)
    if across > height / 2:
        return -_overlap(line.left, line.right, box.left, box.right) < _GAP * height
    width = box.right - box.left
    turned = (
        line.right - line.left < 1.5 * width
    )  # one letter wide so far: no line that ends and goes on below
    if not turned or _overlap(line.left, line.right, box.left, box.right) < width / 2:
        return False
    return -across < _GAP * width


def _overlap(a: float, b: float, c: float, d: float) -> float:
    """By how much two stretches overlap; below zero how far apart they are."""
    return min(b, d) - max(a, c)
