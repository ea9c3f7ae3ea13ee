"""Counting: how much a model's word on the quotes is worth beside the service's own score."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from rag.distil.splitting import bare_name
from rag.evaluation.outcome import Outcome
from rag.refusal import Counted

FOLDS = 5
LEAST = 40
"""Questions to fit a rule to; of each kind, a quarter of them."""
_RIDGE = 0.01
_STEPS = 50
Floats = NDArray[np.float64]


def fitted(outcomes: Sequence[Outcome], margins: Sequence[float]) -> Counted | None:
    """A logistic rule of the service's score and the model's margin: whether a question has an answer.

    Of the thresholds at which no fewer of the answerable questions are answered than the service answers by
    itself, for these shall not pay for what is told better, it has the one of the highest balanced accuracy.
    None where there are too few questions of either kind.
    """
    rows = [(each, margin) for each, margin in zip(outcomes, margins, strict=True) if not each.error]
    answerable = np.array([each.answerable for each, _ in rows], dtype=np.bool_)
    if len(rows) < LEAST or not LEAST / 4 <= answerable.sum() <= len(rows) - LEAST / 4:
        return None
    signals = np.array([[Counted.odds(each.score), margin] for each, margin in rows])
    service, model, bias = _logistic(signals, answerable)
    rule = Counted(service, model, bias, 0.0)
    scores = np.array([rule.score(each.score, margin) for each, margin in rows])
    plain = np.array([each.score >= each.threshold for each, _ in rows])
    least = float(plain[answerable].mean())
    held = np.unique(scores)
    # in the middle between two scores, since nothing is known of what lies there
    cuts = np.concatenate([[0.0], (held[1:] + held[:-1]) / 2])
    _, lowest = max(
        (float(said.mean() - (scores[~answerable] >= cut).mean()), -float(cut))
        for cut in cuts
        if (said := scores[answerable] >= cut).mean() >= least
    )
    return Counted(service, model, bias, -lowest)


def cross_fitted(outcomes: Sequence[Outcome], margins: Sequence[float]) -> list[bool] | None:
    """Which questions are answered, each decided by a rule that was fitted without the questions on its
    document; None where these are too few."""
    folds = [_fold(each.cluster) for each in outcomes]
    rules: dict[int, Counted] = {}
    for fold in set(folds):
        others = [at for at, mine in enumerate(folds) if mine != fold]
        rule = fitted([outcomes[at] for at in others], [margins[at] for at in others])
        if rule is None:
            return None
        rules[fold] = rule
    return [
        rules[fold].score(each.score, margin) >= rules[fold].threshold
        for each, margin, fold in zip(outcomes, margins, folds, strict=True)
    ]


def _fold(document: str) -> int:
    """By name, as documents are split: an article that stands in two sets is in one fold."""
    return hashlib.sha256(bare_name(document).encode()).digest()[0] % FOLDS


def _logistic(signals: Floats, wanted: NDArray[np.bool_]) -> tuple[float, float, float]:
    """Weights and bias of a logistic regression with a small ridge, by Newton's method (Hastie, Tibshirani,
    Friedman 2009, 4.4.1). Both kinds weigh the same."""
    rows = np.column_stack([signals, np.ones(len(signals))])
    share = np.where(wanted, 0.5 / wanted.mean(), 0.5 / (1 - wanted.mean()))
    ridge = np.diag([_RIDGE, _RIDGE, 0.0]) * len(rows)
    weights = np.zeros(3)
    for _ in range(_STEPS):
        chance = 1 / (1 + np.exp(-np.clip(rows @ weights, -30, 30)))
        slope = rows.T @ (share * (wanted - chance)) - ridge @ weights
        curve = (rows * (share * chance * (1 - chance))[:, None]).T @ rows + ridge
        weights += np.linalg.solve(curve, slope)
    service, model, bias = (float(each) for each in weights)
    return service, model, bias
