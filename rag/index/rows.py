"""Which rows of a part of an index belong to given chunks, whichever of the two are more."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int64]
Rows = NDArray[np.intp]


def places(order: Rows, known: Ids, ids: Ids) -> tuple[Rows, Rows]:
    """Return (places in `ids`, rows) of the ids that are here: `known`, ascending, of the rows `order`."""
    if not len(known):
        return order, order
    at = np.minimum(np.searchsorted(known, ids), len(known) - 1)
    here = np.flatnonzero(known[at] == ids)
    return here, order[at[here]]


def among(order: Rows, known: Ids, wanted: Ids) -> Rows:
    """Return the rows, ascending, of those of `wanted` that are here; `wanted` is ascending, each once."""
    if not len(known):
        return order
    first, last = np.searchsorted(wanted, known[0]), np.searchsorted(wanted, known[-1], side="right")
    own = wanted[first:last]
    if len(own) <= len(known):
        return np.sort(places(order, known, own)[1])
    return np.sort(order[places(np.arange(len(own)), own, known)[0]])


def ascending(ids: Ids) -> Ids:
    """Return `ids` in ascending order, each once; as they are where they are so already."""
    if (ids[1:] > ids[:-1]).all():
        return ids
    ids = np.sort(ids)
    return ids[np.append(True, ids[1:] != ids[:-1])] if len(ids) else ids
