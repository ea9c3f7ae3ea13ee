"""Figures of a run: each metric with its questions, its value and its interval."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from rag.evaluation.intervals import (
    Floats,
    Statistic,
    balanced,
    bootstrap,
    mean,
    median,
    percentile95,
)
from rag.evaluation.metrics import CUTS
from rag.evaluation.outcome import Outcome, QuoteOutcome

Unit = Literal["share", "ms", "tokens"]
Value = float | tuple[float, float] | None


@dataclass(frozen=True)
class Metric:
    """`value` is a question's part of it, None where it says nothing of the question."""

    name: str
    meaning: str
    value: Callable[[Outcome], Value]
    statistic: Statistic = mean
    unit: Unit = "share"
    higher: bool = True


@dataclass(frozen=True)
class Figure:
    """A metric of a run with its interval of 95 %, over `questions` questions."""

    metric: str
    questions: int
    value: float
    low: float
    high: float

    def as_dict(self) -> dict[str, Any]:
        """The figure as a run file keeps it."""
        return asdict(self)


def ratio(rows: Floats) -> float:
    """Sum of the first column by sum of the second; NaN of nothing."""
    total = rows[:, 1].sum()
    return float(rows[:, 0].sum() / total) if total else float("nan")


def _evidence(value: Callable[[Outcome], float]) -> Callable[[Outcome], Value]:
    return lambda each: value(each) if each.answerable and each.located else None


def _gold(value: Callable[[Outcome], bool]) -> Callable[[Outcome], Value]:
    return lambda each: float(value(each)) if each.answerable and each.answers else None


def _found_at(cut: int) -> Callable[[Outcome], Value]:
    return _evidence(lambda each: float(each.found is not None and each.found <= cut))


def _each_quote(good: Callable[[QuoteOutcome], bool]) -> Callable[[Outcome], Value]:
    return lambda each: (float(sum(map(good, each.quotes))), float(len(each.quotes))) if each.quotes else None


def _cost(value: Callable[[Outcome], float]) -> Callable[[Outcome], Value]:
    return lambda each: None if each.error else value(each)


def _said(each: Outcome) -> float:
    # an error is neither an answer nor a refusal, and wrong either way
    return float(not each.answerable if each.error else each.answered)


METRICS = (
    *(
        Metric(f"found@{cut}", f"evidence among the first {cut} passages of the search", _found_at(cut))
        for cut in CUTS
    ),
    Metric("ndcg@10", "nDCG of the first ten passages", _evidence(lambda each: each.ndcg)),
    Metric("mrr@10", "reciprocal rank of the first right passage", _evidence(lambda each: each.reciprocal)),
    Metric("packed", "evidence in what was read", _evidence(lambda each: float(each.packed))),
    Metric(
        "quote",
        "gold answer in the first quote",
        _gold(lambda each: any(quote.holds for quote in each.quotes[:1])),
    ),
    Metric(
        "quotes", "gold answer in any quote", _gold(lambda each: any(quote.holds for quote in each.quotes))
    ),
    Metric(
        "cited",
        "a quote touches the evidence",
        _evidence(lambda each: float(any(quote.evidence for quote in each.quotes))),
    ),
    Metric("answer", "gold answer in the answer's text", _gold(lambda each: each.holds_answer)),
    Metric(
        "answered",
        "answerable questions that were answered",
        lambda each: _said(each) if each.answerable else None,
    ),
    Metric(
        "refused",
        "unanswerable questions that were refused",
        lambda each: None if each.answerable else 1 - _said(each),
    ),
    Metric(
        "balanced",
        "balanced accuracy of refusal",
        lambda each: (float(each.answerable), _said(each)),
        balanced,
    ),
    Metric(
        "exact",
        "quotes that are the stored text at their offsets",
        _each_quote(lambda quote: quote.exact),
        ratio,
    ),
    Metric("page", "quotes whose page is right", _each_quote(lambda quote: quote.page_right), ratio),
    Metric("latency", "median time of an answer", _cost(lambda each: each.milliseconds), median, "ms", False),
    Metric(
        "latency_p95",
        "95th percentile of the time of an answer",
        _cost(lambda each: each.milliseconds),
        percentile95,
        "ms",
        False,
    ),
    Metric(
        "tokens",
        "tokens of documents that were read, mean",
        _cost(lambda each: float(each.packed_tokens)),
        mean,
        "tokens",
        False,
    ),
    Metric(
        "written",
        "tokens that the model wrote, mean",
        _cost(lambda each: float(each.written_tokens)),
        mean,
        "tokens",
        False,
    ),
)
BY_NAME = {metric.name: metric for metric in METRICS}


def values_of(metric: Metric, outcomes: Sequence[Outcome]) -> tuple[Floats, list[str], list[Outcome]]:
    """The values of the questions that the metric is about, their documents, and those outcomes."""
    pairs = [(value, each) for each in outcomes if (value := metric.value(each)) is not None]
    array = np.array([value for value, _ in pairs], dtype=np.float64)
    return array, [each.cluster for _, each in pairs], [each for _, each in pairs]


def figures(outcomes: Sequence[Outcome], *, seed: int = 0) -> list[Figure]:
    """Every metric that the questions say something of."""
    found = []
    for metric in METRICS:
        values, clusters, _ = values_of(metric, outcomes)
        if not len(values) or np.isnan(metric.statistic(values)):
            continue
        interval = bootstrap(values, clusters, statistic=metric.statistic, seed=seed)
        found.append(Figure(metric.name, len(values), interval.value, interval.low, interval.high))
    return found


def shown(value: float, unit: Unit) -> str:
    """A value as it is printed: shares to three places, the others whole."""
    return f"{value:.3f}" if unit == "share" else f"{value:,.0f}"
