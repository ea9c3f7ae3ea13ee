"""Inner products of float16 rows with a query (`src/halves.c`), of numpy arrays; needs no torch by itself."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from model.native.library import call


def products(
    vectors: NDArray[np.float16], query: NDArray[np.float32], rows: NDArray[np.int64] | None = None
) -> NDArray[np.float32]:
    """Return the inner product with `query` [dimension] of each of `vectors` [n, dimension], or of `rows`.

    They are added up in float32; a row's is the same to the bit wherever it stands and with whichever others.
    Arrays are contiguous and rows are there: nothing is checked.
    """
    out = np.empty(len(vectors) if rows is None else len(rows), dtype=np.float32)
    which = None if rows is None else rows.ctypes.data
    call().longleaf_halves(
        vectors.ctypes.data, which, len(out), vectors.shape[1], query.ctypes.data, out.ctypes.data
    )
    return out
