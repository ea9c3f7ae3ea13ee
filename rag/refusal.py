"""Refusal: whether the evidence is enough to answer, as a score that can be read and a reason that can be
tested.

The score is a logistic one over what was found, fitted to questions that the documents answer and questions
that they do not (`bench/refusal.py`, docs/decisions/0302-refusal.md). It is not a model of truth: it says how
much what was found looks like what is found when there is an answer.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from rag.likeness import ABOUT, shifted
from rag.quoting import Evidence

Reason = Literal["supported", "no_passages", "low_similarity", "terms_missing", "not_stated", "quotes_gone"]


@dataclass(frozen=True)
class Verdict:
    """`score` from 0 to 1, the `threshold` that it was held against, and why."""

    score: float
    threshold: float
    reason: Reason

    @property
    def enough(self) -> bool:
        """Whether the question is answered."""
        return self.reason == "supported"

    @property
    def near(self) -> bool:
        """Whether the quotes are shown though the question is not answered: they are about what was asked,
        and whether they say it is in doubt."""
        return self.reason == "not_stated"

    def as_dict(self) -> dict[str, Any]:
        """As the API shows it under `evidence`."""
        return {**asdict(self), "score": round(self.score, 4)}


SIGNALS = ("similarity", "names", "numbers", "turned", "negated")
"""By the names of `Evidence`; the similarity with the shift of the question's script."""

READ_SIGNALS = ("similarity", "names", "numbers", "margin")
"""Where there is a reader. It sees what is negated itself."""


@dataclass(frozen=True)
class Scale:
    """A logistic score: `weights` of the signals less `centre`, their means over the answerable questions of
    the fit, plus `bias`; below `threshold` it refuses."""

    centre: tuple[float, ...]
    weights: tuple[float, ...]
    bias: float
    threshold: float

    def score(self, values: Sequence[float]) -> float:
        """From 0 to 1. Raises ValueError for another number of signals."""
        parts = [
            weight * (value - centre)
            for weight, value, centre in zip(self.weights, values, self.centre, strict=True)
        ]
        return _chance(self.bias + sum(parts))


ALONE = Scale(
    centre=(0.8861, 0.0589, 0.0134, 0.4851, 0.0432),
    weights=(35.5516, -0.655, -2.2469, -0.234, -0.8859),
    bias=0.7248,
    threshold=0.36,
)
"""Where no reader was asked. The threshold is the lowest that loses at most half a point of the best balanced
accuracy, absent subjects included, since people feel a refusal of what is there more than a trap that is not
seen (docs/decisions/0302-refusal.md)."""

READ = Scale(
    centre=(0.8861, 0.0589, 0.0134, 3.854),
    weights=(23.4814, -0.3067, -2.1293, 0.224),
    bias=1.0946,
    threshold=0.47,
)
"""With the reader. The threshold is the lowest at which answerable questions and traps of each of three sets
are told apart as well as is wanted (docs/decisions/0317-the-reader-learns-elsewhere-first.md)."""

_LIMIT = 1e-6


@dataclass(frozen=True)
class Counted:
    """How a taught model's word on the quotes is counted: a logistic score of the log-odds of the service's
    own and of the model's margin, in nats, with their weights `service` and `model`; below `threshold` it
    refuses (docs/decisions/0316-a-taught-model-is-asked.md)."""

    service: float
    model: float
    bias: float
    threshold: float

    @staticmethod
    def odds(score: float) -> float:
        """The log-odds of a score from 0 to 1, in nats, kept finite."""
        bounded = min(max(score, _LIMIT), 1 - _LIMIT)
        return math.log(bounded / (1 - bounded))

    def score(self, score: float, margin: float) -> float:
        """From 0 to 1, of the service's score and the model's margin."""
        return _chance(self.bias + self.service * self.odds(score) + self.model * margin)

    def judge(self, found: Verdict, margin: float) -> Verdict:
        """The service's verdict, with the model's margin counted."""
        score = self.score(found.score, margin)
        if score >= self.threshold:
            return Verdict(score, self.threshold, "supported")
        return Verdict(score, self.threshold, "not_stated" if found.enough else found.reason)


FEW_TERMS = 0.25
"""Share of the question's terms, by rarity, below which a refusal for lack of similarity names the missing
words as its reason."""


def judge(evidence: Evidence) -> Verdict:
    """Whether the evidence is enough."""
    values = signals(evidence)
    scale = READ if evidence.margin is not None else ALONE
    if not evidence.quotes:
        return Verdict(0.0, scale.threshold, "no_passages")
    score = scale.score(values)
    if score >= scale.threshold:
        return Verdict(score, scale.threshold, "supported")
    if values[0] >= ABOUT:
        return Verdict(score, scale.threshold, "not_stated")
    return Verdict(
        score, scale.threshold, "terms_missing" if evidence.coverage < FEW_TERMS else "low_similarity"
    )


def signals(evidence: Evidence) -> tuple[float, ...]:
    """The values of `READ_SIGNALS`, or of `SIGNALS` where nothing was read."""
    found = (shifted(evidence.similarity, evidence.script), evidence.names, evidence.numbers)
    if evidence.margin is None:
        return (*found, evidence.turned, evidence.negated)
    return (*found, evidence.margin)


def _chance(odds: float) -> float:
    """The logistic function, of odds that are bounded so that it never overflows."""
    return 1 / (1 + math.exp(-max(-30.0, min(30.0, odds))))
