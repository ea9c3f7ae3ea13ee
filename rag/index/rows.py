"""Which rows of a part of an index belong to given chunks, whichever of the two are more."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int64]
Rows = NDArray[np.intp]


def places(order: Rows, known: Ids, ids: Ids) -> tuple[Rows, Rows]:
    """Return (places in `ids`, rows) of the ids that are here: `known`, ascending, of the rows `order`.

    `ids` are ascending. Parts of an index mostly have ranges of their own, so only those of its range are
    looked for.
    """
    if not len(known):
        return order, order
    first, last = _between(ids, known)
    at = np.searchsorted(known, ids[first:last])
    here = np.flatnonzero(known[at] == ids[first:last])
    return here + first, order[at[here]]


def _between(ids: Ids, known: Ids) -> tuple[int, int]:
    """Where in `ids` those lie that are not below or above all of `known`; both are ascending."""
    return int(ids.searchsorted(known[0])), int(ids.searchsorted(known[-1], side="right"))


def among(order: Rows, known: Ids, wanted: Ids) -> Rows:
    """Return the rows, ascending, of those of `wanted` that are here; `wanted` is ascending, each once."""
    if not len(known):
        return order
    first, last = _between(wanted, known)
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


def mixed(ids: Ids) -> NDArray[np.uint64]:
    """Return a number for each id that looks drawn at random from 0 to 2⁶⁴, the same one anywhere.

    It is the finaliser of SplitMix64 (Steele, Lea and Flood 2014).
    """
    found = ids.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    found = (found ^ (found >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    found = (found ^ (found >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return found ^ (found >> np.uint64(31))
