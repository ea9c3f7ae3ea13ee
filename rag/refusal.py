"""Refusal: whether the evidence is enough to answer, as a score that can be read and a reason that can be
tested.

The score is a logistic one over what was found, fitted to questions that the documents answer and questions
that they do not (`bench/refusal.py`, docs/decisions/0302-refusal.md). It is not a model of truth: it says how
much what was found looks like what is found when there is an answer.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

from rag.quoting import Evidence

Reason = Literal["supported", "no_passages", "low_similarity", "terms_missing", "quotes_gone"]


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

    def as_dict(self) -> dict[str, Any]:
        """As the API shows it under `evidence`."""
        return {**asdict(self), "score": round(self.score, 4)}


SIGNALS = ("similarity", "coverage", "share", "dense", "score")
"""Best sentence's cosine; share of the question's terms around the best sentence; how clearly that sentence
stands out; best chunk's cosine; best chunk's fused score."""

CENTRE = (0.879, 0.6355, 0.726, 0.8563, 7.2144)
"""Means over the answerable questions of the fitted half: below them a signal speaks against an answer."""

WEIGHTS = (26.3852, 0.4648, 2.4889, 25.5489, 0.0961)
BIAS = 2.5965
THRESHOLD = 0.5

FEW_TERMS = 0.25
"""Share of the question's terms, by rarity, below which a refusal names the missing words as its reason."""


def judge(evidence: Evidence) -> Verdict:
    """Whether the evidence is enough."""
    if not evidence.quotes:
        return Verdict(0.0, THRESHOLD, "no_passages")
    parts = [
        weight * (value - centre)
        for weight, value, centre in zip(WEIGHTS, signals(evidence), CENTRE, strict=True)
    ]
    score = 1 / (1 + math.exp(-max(-30.0, min(30.0, BIAS + sum(parts)))))
    if score >= THRESHOLD:
        return Verdict(score, THRESHOLD, "supported")
    return Verdict(score, THRESHOLD, "terms_missing" if evidence.coverage < FEW_TERMS else "low_similarity")


def signals(evidence: Evidence) -> tuple[float, ...]:
    """The values of `SIGNALS`."""
    return (evidence.similarity, evidence.coverage, evidence.share, evidence.dense, evidence.fused)
