"""Where the rows of a pass stand: positions, slots and block tables, as plain lists of integers.

Lists, until the last moment: between two passes a call of torch takes as long as some dozen positions.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import NamedTuple

from model.attention.batch import Segment


class Layout(NamedTuple):
    """The n rows of a pass, segment after segment.

    Attributes:
        positions: [n], of each in its sequence.
        slots: [n], where in the pool keys and values go: block · block_size + offset.
        segments, table: see `block_table`.
    """

    positions: list[int]
    slots: list[int]
    segments: list[int]
    table: list[int]


def lay_out(segments: Sequence[Segment], block_size: int) -> Layout:
    """The layout of a pass.

    Raises:
        ValueError: a segment has too few blocks for its tokens.
    """
    positions: list[int] = []
    slots: list[int] = []
    for each in segments:
        own = range(each.start, each.start + each.count)
        positions += own
        slots += [each.blocks[at // block_size] * block_size + at % block_size for at in own]
    return Layout(positions, slots, *block_table(segments, block_size))


def block_table(segments: Sequence[Segment], block_size: int) -> tuple[list[int], list[int]]:
    """First row, start, count and place in the table of each segment [4 · segments]; ids of all their blocks.

    Raises:
        ValueError: a segment has too few blocks for its tokens.
    """
    rows: list[int] = []
    row = offset = 0
    for each in segments:
        if len(each.blocks) * block_size < each.start + each.count:
            raise ValueError(f"{len(each.blocks)} blocks for {each.start + each.count} tokens")
        rows += (row, each.start, each.count, offset)
        row, offset = row + each.count, offset + len(each.blocks)
    return rows, list(chain.from_iterable(each.blocks for each in segments))
