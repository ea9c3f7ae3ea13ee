"""Sums over inverted lists (`src/lists.c`), of numpy arrays; needs no torch by itself.

A list names rows, ascending, and how often each is in it. For each row the kernel adds up, in whole units,
what the lists that hold it are worth. Sums of whole units are the same in any order.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from model.native.library import call


class _Sums(ctypes.Structure):
    """`sums` of src/lists.c."""

    _fields_ = (
        *(
            (name, ctypes.c_void_p)
            for name in ("rows", "counts", "norm", "among", "place", "first", "last", "weights", "out")
        ),
        *((name, ctypes.c_int64) for name in ("lists", "lines", "width", "height", "saturated")),
    )


@dataclass(frozen=True, eq=False)
class Lists:
    """Inverted lists end to end: `rows` int32, `counts` uint8, and `norm` float32 for each row there is.

    A count c of a row is worth c / (norm + c).
    """

    rows: NDArray[np.int32]
    counts: NDArray[np.uint8]
    norm: NDArray[np.float32]

    def add(
        self,
        out: NDArray[np.int32],
        places: tuple[NDArray[np.int64], NDArray[np.int64]],
        weights: NDArray[np.float32],
        saturated: int,
        among: NDArray[np.int32] | None = None,
    ) -> None:
        """Add to `out` [lines, rows] the lists at the `places` (first, last), [lists] each.

        A list adds `weights` [lines, lists], whole units, to each of its rows, and in the lines whose bit is
        in `saturated` as much of that as the count is worth, rounded to a whole unit. With `among`, rows
        ascending, only those are summed, and `out` is [lines, len(among)]. Everything is contiguous; nothing
        is checked.
        """
        place = None
        if among is not None:
            place = np.full(len(self.norm), -1, dtype=np.int32)
            place[among] = np.arange(len(among), dtype=np.int32)
        arrays = (among, place, *places, weights, out)
        addresses = (None if array is None else array.ctypes.data for array in arrays)
        sums = _Sums(
            *self._addresses,
            *addresses,
            weights.shape[1],
            len(weights),
            out.shape[1],
            len(self.norm),
            saturated,
        )
        call().longleaf_lists(ctypes.addressof(sums))

    @cached_property
    def _addresses(self) -> tuple[int, int, int]:
        return self.rows.ctypes.data, self.counts.ctypes.data, self.norm.ctypes.data
