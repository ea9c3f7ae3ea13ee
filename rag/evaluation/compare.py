"""Two runs over the same questions: what changed, and how likely that is by luck alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from rag.errors import InvalidRequest
from rag.evaluation.figures import METRICS
from rag.evaluation.intervals import paired
from rag.evaluation.outcome import Outcome
from rag.evaluation.runfile import Run


class NotComparable(InvalidRequest):
    """Two runs that did not ask the same."""

    default_code = "not_comparable"


@dataclass(frozen=True)
class Change:
    """A metric of both runs over the questions that it is about in both; `low` to `high` hold B - A."""

    metric: str
    questions: int
    first: float
    second: float
    difference: float
    low: float
    high: float
    p: float

    def as_dict(self) -> dict[str, Any]:
        """The change as `--json` shows it."""
        return asdict(self)


@dataclass(frozen=True)
class Turned:
    """A question whose outcome changed: `better` and `worse` name the metrics."""

    first: Outcome
    second: Outcome
    better: tuple[str, ...]
    worse: tuple[str, ...]


@dataclass(frozen=True)
class Comparison:
    """`left_out`: questions that only one of the runs asked. `settings`: what else is not the same."""

    changes: tuple[Change, ...]
    turned: tuple[Turned, ...]
    common: int
    left_out: int
    settings: Mapping[str, tuple[Any, Any]]


def compare(first: Run, second: Run, *, common: bool = False) -> Comparison:
    """Hold the second run against the first.

    Raises NotComparable where they did not ask the same questions, unless `common` asks for those of both;
    and always where a question of the same id is another one, or none is in both.
    """
    before = {outcome.id: outcome for outcome in first.outcomes}
    after = {outcome.id: outcome for outcome in second.outcomes}
    both = [name for name in before if name in after]
    left_out = len(before) + len(after) - 2 * len(both)
    if not both:
        raise NotComparable("the runs have no question in common")
    for name in both:
        for what in ("question", "answers", "answerable", "every"):
            old, new = getattr(before[name], what), getattr(after[name], what)
            if old != new:
                raise NotComparable(f"question {name!r} is not the same: its {what} was {old!r}, is {new!r}")
    if left_out and not common:
        raise NotComparable(
            f"the runs asked different questions: {len(both)} are in both, {len(before) - len(both)} only in "
            f"the first, {len(after) - len(both)} only in the second; --common compares those of both"
        )
    pairs = [(before[name], after[name]) for name in both]
    turned = [found for pair in pairs if (found := _turned(*pair)) is not None]
    return Comparison(_changes(pairs), tuple(turned), len(both), left_out, _settings(first, second))


def _changes(pairs: Sequence[tuple[Outcome, Outcome]]) -> tuple[Change, ...]:
    found = []
    for metric in METRICS:
        rows = [(metric.value(a), metric.value(b), a.cluster) for a, b in pairs]
        kept = [(a, b, cluster) for a, b, cluster in rows if a is not None and b is not None]
        if not kept:
            continue
        old = np.array([a for a, _, _ in kept], dtype=np.float64)
        new = np.array([b for _, b, _ in kept], dtype=np.float64)
        one, two = metric.statistic(old), metric.statistic(new)
        if np.isnan(one) or np.isnan(two):
            continue
        found_paired = paired(old, new, [cluster for _, _, cluster in kept], statistic=metric.statistic)
        found.append(
            Change(
                metric.name,
                len(kept),
                one,
                two,
                found_paired.value,
                found_paired.low,
                found_paired.high,
                found_paired.p,
            )
        )
    return tuple(found)


def _turned(first: Outcome, second: Outcome) -> Turned | None:
    better: list[str] = []
    worse: list[str] = []
    for metric in METRICS:
        if metric.unit != "share" or metric.name == "balanced":
            continue
        old, new = metric.value(first), metric.value(second)
        if old is None or new is None or isinstance(old, tuple) or isinstance(new, tuple) or old == new:
            continue
        (better if new > old else worse).append(metric.name)
    return Turned(first, second, tuple(better), tuple(worse)) if better or worse else None


def _settings(first: Run, second: Run) -> dict[str, tuple[Any, Any]]:
    one, two = dict(_flat(first.about)), dict(_flat(second.about))
    names = [name for name in one | two if name not in ("created", "set", "set_digest")]
    return {name: (one.get(name), two.get(name)) for name in names if one.get(name) != two.get(name)}


def _flat(about: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    found = []
    for name, value in about.items():
        if isinstance(value, dict):
            found += _flat(value, f"{prefix}{name}.")
        else:
            found.append((prefix + name, value))
    return found
