"""How many tokens to read for an answer: quality and waiting time at each budget, and the rule of choice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from rag.errors import InvalidRequest
from rag.evaluation.figures import BY_NAME, figures, values_of
from rag.evaluation.intervals import mean
from rag.evaluation.outcome import Outcome

FIRST = 1024
"""The smallest budget that is tried when none are named; each other is twice the one before."""

METRICS = tuple(
    name for name, metric in BY_NAME.items() if metric.unit == "share" and metric.statistic is mean
)
"""What a sweep can be for: metrics that are a mean over questions."""

RULE = "the smallest budget whose {metric} is at most one standard error below that of the best"


@dataclass(frozen=True)
class Trial:
    """The questions at one budget. `quality` with its interval of 95 %; time in milliseconds, median."""

    budget: int
    questions: int
    quality: float
    low: float
    high: float
    tokens: float
    latency: float
    below_best: float
    standard_error: float

    def as_dict(self) -> dict[str, Any]:
        """The trial as `--json` shows it."""
        return asdict(self)


@dataclass(frozen=True)
class Sweep:
    """All trials, smallest budget first, and the budget that the rule chooses."""

    metric: str
    trials: tuple[Trial, ...]
    chosen: int

    @property
    def rule(self) -> str:
        """The rule in words."""
        return RULE.format(metric=self.metric)


def budgets_up_to(window: int) -> tuple[int, ...]:
    """1,024 and its doubles below the window, and the window."""
    found = []
    budget = FIRST
    while budget < window:
        found.append(budget)
        budget *= 2
    return (*found, window)


def metric_for(outcomes: Sequence[Outcome]) -> str:
    """What is to be good: the gold answer in a quote where answers are known, else the evidence in what was
    read. Raises InvalidRequest where the questions know neither."""
    for name in ("quotes", "packed"):
        if len(values_of(BY_NAME[name], outcomes)[0]):
            return name
    raise InvalidRequest(
        "no question has an answer or evidence that the documents hold, so no budget is better than another"
    )


def sweep(runs: Sequence[tuple[int, Sequence[Outcome]]], metric: str) -> Sweep:
    """Hold budgets against each other over the same questions.

    The rule is the one-standard-error rule (Breiman, Friedman, Olshen and Stone 1984, 3.4.3), with the
    standard error of the questions' differences from the best budget. Raises InvalidRequest for a metric
    that says nothing of the questions.
    """
    name = BY_NAME[metric]
    values = {budget: values_of(name, outcomes)[0] for budget, outcomes in runs}
    if not all(len(each) for each in values.values()):
        raise InvalidRequest(f"no question says anything of {metric!r}")
    best = max(values, key=lambda budget: (values[budget].mean(), -budget))
    trials = []
    for budget, outcomes in sorted(runs, key=lambda run: run[0]):
        found = {figure.metric: figure for figure in figures(outcomes)}
        below = values[best] - values[budget]
        error = float(below.std(ddof=1) / np.sqrt(len(below))) if len(below) > 1 else float("inf")
        quality = found[metric]
        trials.append(
            Trial(
                budget,
                quality.questions,
                quality.value,
                quality.low,
                quality.high,
                found["tokens"].value,
                found["latency"].value,
                float(below.mean()),
                error,
            )
        )
    chosen = next(trial.budget for trial in trials if trial.below_best <= trial.standard_error + 1e-12)
    return Sweep(metric, tuple(trials), chosen)
