"""What a search finds in a part of a collection or in the whole, and how parts become the whole.

Scores of parts are compared as they are: sums of words are whole numbers, and inner products do not depend on
where in an index a vector stands. So the best of the parts' best are the best of all, in the same order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rag.index.question import Floats, ids_of
from rag.index.rows import Ids
from rag.index.scoring import NAMES, PAIRS, RARE, SHARE, Leg

HOLDING = 50
"""Chunks that are looked at for one quoted phrase."""


@dataclass(frozen=True)
class Partial:
    """That a search did not reach all of a collection: of so many shards these were `missing`."""

    shards: int
    missing: tuple[int, ...]

    def as_dict(self) -> dict[str, Any]:
        """As the API shows it."""
        return {"shards": self.shards, "missing": list(self.missing)}


@dataclass(frozen=True, eq=False)
class Hits:
    """Both legs' chunks for one question, and both scores of every one of them.

    `ids` is the union; `dense` holds inner products; `lexical`, `rare`, `pairs` and `names` are shares from 0
    to 1 (see `lexical.Scored`), of which the leg's rank is by the first.
    Ranks count from 1, 0 where the leg did not return the chunk. `background` holds the inner products
    with a sample of the whole collection. `coverage` is the share of the question's terms, by weight, that
    the collection knows. `held` names for each phrase that was looked for the chunks that may hold it.
    """

    ids: Ids
    dense: Floats
    lexical: Floats
    rare: Floats
    pairs: Floats
    names: Floats
    dense_rank: NDArray[np.int64]
    lexical_rank: NDArray[np.int64]
    background: Floats
    coverage: float
    held: tuple[Ids, ...] = ()
    partial: Partial | None = None
    """None where all of the collection was searched."""


@dataclass(frozen=True, eq=False)
class Part:
    """What one part of a collection has for a question.

    `ids` is the union of the legs, with inner products `dense` and the four `shares` [4, len(ids)]. The first
    `near` of `ids` are the dense leg. `sample` are the chunks of the background that are here.
    """

    ids: Ids
    dense: Floats
    shares: Floats
    near: int
    matching: Leg
    held: tuple[Leg, ...]
    sample: Ids
    background: Floats
    coverage: float


def merge(parts: Sequence[Part], k: int) -> Hits:
    """Return the `k` best of each leg of all `parts`, of which there is at least one, as one index would."""
    ids = ids_of(part.ids for part in parts)
    dense = np.concatenate([part.dense for part in parts])
    near_ids = ids_of(part.ids[: part.near] for part in parts)
    near_scores = np.concatenate([part.dense[: part.near] for part in parts])
    near = near_ids[np.lexsort((near_ids, -near_scores))[:k]]
    matching = _best([part.matching for part in parts], k)
    phrases = range(len(parts[0].held))
    held = tuple(_best([part.held[phrase] for part in parts], HOLDING) for phrase in phrases)
    chosen = joined([near, matching, *held])
    order = np.argsort(ids)
    at = order[np.searchsorted(ids, chosen, sorter=order)]
    shares = np.concatenate([part.shares for part in parts], axis=1)[:, at]
    sample = ids_of(part.sample for part in parts)
    background = np.concatenate([part.background for part in parts])[np.argsort(sample)]
    return Hits(
        chosen,
        dense[at],
        shares[SHARE],
        shares[RARE],
        shares[PAIRS],
        shares[NAMES],
        ranks(chosen, near),
        ranks(chosen, matching),
        background,
        parts[0].coverage,
        held,
    )


def _best(legs: Sequence[Leg], k: int) -> Ids:
    if len(legs) == 1:
        return legs[0].ids[:k]
    ids, sums = ids_of(leg.ids for leg in legs), np.concatenate([leg.sums for leg in legs])
    return ids[np.lexsort((ids, -sums))[:k]]


def joined(lists: Sequence[Ids]) -> Ids:
    """One after the other, each id once."""
    ids = lists[0]
    for more in lists[1:]:
        ids = np.concatenate([ids, more[~np.isin(more, ids)]])
    return ids


def ranks(ids: Ids, ordered: Ids) -> NDArray[np.int64]:
    """Where each of `ids` stands in `ordered`, from 1; 0 where it does not."""
    if not len(ordered):
        return np.zeros(len(ids), dtype=np.int64)
    order = np.argsort(ordered)
    at = order[np.minimum(np.searchsorted(ordered, ids, sorter=order), len(order) - 1)]
    found: NDArray[np.int64] = np.where(ordered[at] == ids, at + 1, 0)
    return found
