"""How sure a figure is: bootstrap intervals, and whether two runs over the same questions differ.

Questions on one document are right or wrong together, so documents are drawn, not questions, where they are
known: the unit that is drawn must be the one that is independent (Davison and Hinkley 1997, 3.8).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Statistic = Callable[[Floats], float]
"""A figure of the questions' values, float64[questions] or float64[questions, columns]; NaN for none."""

SAMPLES = 2000
FEW_CLUSTERS = 8
"""Of fewer documents than that, drawing them says little; questions are drawn then."""


@dataclass(frozen=True)
class Interval:
    """A figure, and the bounds between which 95 of 100 such samples would have it."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Difference:
    """How much a second run is above a first, its interval, and the chance of as much by luck alone."""

    value: float
    low: float
    high: float
    p: float


def mean(values: Floats) -> float:
    """The mean."""
    return float(values.mean())


def median(values: Floats) -> float:
    """The median."""
    return float(np.median(values))


def percentile95(values: Floats) -> float:
    """The 95th percentile."""
    return float(np.quantile(values, 0.95))


def balanced(rows: Floats) -> float:
    """Balanced accuracy of rows [answerable, answered], each 0 or 1; NaN where one kind is missing."""
    answerable, answered = rows[:, 0] > 0, rows[:, 1]
    if answerable.all() or not answerable.any():
        return float("nan")
    return float(answered[answerable].mean() + 1 - answered[~answerable].mean()) / 2


def bootstrap(
    values: ArrayLike,
    clusters: Sequence[Hashable] | None = None,
    *,
    statistic: Statistic = mean,
    seed: int = 0,
    samples: int = SAMPLES,
) -> Interval:
    """Percentile interval of 95 % of a statistic of `values`, one (or one row) a question.

    `clusters` names each question's document. Shares of 0 or 1, of which every sample is the same, get
    Wilson's interval (1927) instead. Raises ValueError for no values, or not as many clusters.
    """
    data = np.asarray(values, dtype=np.float64)
    if not len(data):
        raise ValueError("an interval needs values")
    members = _members(clusters, len(data))
    if statistic is mean and data.ndim == 1 and data[0] in (0.0, 1.0) and (data == data[0]).all():
        bound = 1.96**2 / (len(members) + 1.96**2)
        return Interval(float(data[0]), *((1 - bound, 1.0) if data[0] else (0.0, bound)))
    random = np.random.default_rng(seed)
    drawn = [statistic(data[_sample(members, random)]) for _ in range(samples)]
    low, high = np.nanquantile(drawn, (0.025, 0.975))
    return Interval(statistic(data), float(low), float(high))


def paired(
    first: ArrayLike,
    second: ArrayLike,
    clusters: Sequence[Hashable] | None = None,
    *,
    statistic: Statistic = mean,
    seed: int = 0,
    samples: int = SAMPLES,
) -> Difference:
    """The statistic of `second` less that of `first` over the same questions, its interval, and p.

    p is a randomisation test's (Smucker, Allan and Carterette 2007): the two runs' values of a question, or
    of all questions on a document, change places at random, and the share of times that the difference is at
    least as far from 0 is counted; two-sided. Raises ValueError for sequences of different lengths or none.
    """
    before, after = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if before.shape != after.shape:
        raise ValueError(f"{len(before)} values can't be paired with {len(after)}")
    if not len(before):
        raise ValueError("a difference needs values")
    members = _members(clusters, len(before))
    random = np.random.default_rng(seed)
    value = statistic(after) - statistic(before)
    drawn = []
    for _ in range(samples):
        taken = _sample(members, random)
        drawn.append(statistic(after[taken]) - statistic(before[taken]))
    low, high = np.nanquantile(drawn, (0.025, 0.975))
    extreme = 0
    for _ in range(samples):
        swapped = np.zeros(len(before), dtype=bool)
        for unit in np.flatnonzero(random.random(len(members)) < 0.5):
            swapped[members[unit]] = True
        mask = swapped if before.ndim == 1 else swapped[:, None]
        moved = statistic(np.where(mask, before, after)) - statistic(np.where(mask, after, before))
        extreme += abs(moved) >= abs(value) - 1e-12
    return Difference(value, float(low), float(high), (extreme + 1) / (samples + 1))


def _members(clusters: Sequence[Hashable] | None, count: int) -> list[NDArray[np.int64]]:
    """The questions of each unit that is drawn."""
    alone = [np.array([index]) for index in range(count)]
    if clusters is None:
        return alone
    if len(clusters) != count:
        raise ValueError(f"{len(clusters)} clusters for {count} values")
    groups: dict[Hashable, list[int]] = {}
    for index, cluster in enumerate(clusters):
        groups.setdefault(cluster, []).append(index)
    return [np.array(group) for group in groups.values()] if len(groups) >= FEW_CLUSTERS else alone


def _sample(members: list[NDArray[np.int64]], random: np.random.Generator) -> NDArray[np.int64]:
    chosen = random.integers(0, len(members), size=len(members))
    return np.concatenate([members[unit] for unit in chosen])
