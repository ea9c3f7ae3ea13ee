"""Sums over inverted lists (`src/lists.c`), of numpy arrays; needs no torch by itself.

A list names rows, ascending, and how often each is in it. For each row the kernel adds up, in whole units,
what the lists that hold it are worth. Sums of whole units are the same in any order.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from model.native.library import call

_MEMBERS = (
    *("rows", "counts", "norm", "among", "place", "first", "last", "weights", "out"),
    *("lists", "lines", "width", "stride", "height", "saturated", "more"),
)
"""Of `sums` in src/lists.c, 64 bits each."""
_AT = {name: number for number, name in enumerate(_MEMBERS)}
Held = tuple[NDArray[np.int32], NDArray[np.uint8], NDArray[np.float32]]


class Lists:
    """Parts with inverted lists end to end: rows int32, counts uint8, a norm float32 for each row there is.

    A count c of a row is worth c / (norm + c). Rows are counted through all parts; within one from 0.
    """

    def __init__(self, parts: Sequence[Held]) -> None:
        self._parts = tuple(parts)  # whose addresses follow
        self._table = np.zeros((len(parts), len(_MEMBERS)), dtype=np.int64)
        for member, own in zip(("rows", "counts", "norm"), zip(*parts, strict=True), strict=True):
            self._table[:, _AT[member]] = [array.ctypes.data for array in own]
        heights = [len(norm) for _, _, norm in parts]
        self._table[:, _AT["height"]] = heights
        self._table[:, _AT["more"]] = np.arange(len(parts))[::-1]
        self.bounds = np.cumsum([0, *heights], dtype=np.int64)
        """Where the rows of each part begin, and where the last ones end."""

    def add(
        self,
        out: NDArray[np.int32],
        places: tuple[NDArray[np.int64], NDArray[np.int64]],
        weights: NDArray[np.float32],
        saturated: int,
        among: NDArray[np.int64] | None = None,
    ) -> None:
        """Add to `out` [lines, rows] the lists at the `places` (first, last), [parts, lists] each.

        A list adds `weights` [lines, lists], whole units, to each of its rows, and in the lines whose bit is
        in `saturated` as much of that as the count is worth, rounded to a whole unit. With `among`, rows
        ascending, only those are summed, and `out` is [lines, len(among)]. Everything is contiguous; nothing
        is checked.
        """
        cuts, own, place = self.bounds, None, None
        if among is not None:
            cuts = np.searchsorted(among, self.bounds)
            sizes = np.diff(cuts)
            own = (among - np.repeat(self.bounds[:-1], sizes)).astype(np.int32)
            place = np.full(self.bounds[-1], -1, dtype=np.int32)
            place[among] = np.arange(len(among)) - np.repeat(cuts[:-1], sizes)
        table = self._table.copy()
        for member, array, at in (
            ("among", own, cuts[:-1]),
            ("place", place, self.bounds[:-1]),
            ("out", out, cuts[:-1]),
        ):
            if array is not None:
                table[:, _AT[member]] = array.ctypes.data + array.itemsize * at
        for member, array in zip(("first", "last"), places, strict=True):
            table[:, _AT[member]] = array.ctypes.data + array.strides[0] * np.arange(len(table))
        table[:, _AT["width"]] = np.diff(cuts)
        table[:, _AT["weights"]] = weights.ctypes.data
        for member, number in (
            ("lines", len(weights)),
            ("lists", weights.shape[1]),
            ("stride", out.shape[1]),
            ("saturated", saturated),
        ):
            table[:, _AT[member]] = number
        call().longleaf_lists(table.ctypes.data)
