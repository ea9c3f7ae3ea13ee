"""Joins the two legs' scores into one order that trusts each leg as far as the question's own evidence goes.

Ranks hide what the legs know about themselves: reciprocal rank fusion gives the first lexical hit the same
say whether it matched every rare word of the question or one common one. So scores are added instead. The
dense score counts in standard deviations of the collection's own similarities to the question, which makes
embedders comparable, and it counts the less the better some chunk matches the question's words: where words
speak clearly, vectors are mostly noise. The lexical scores are shares of what a perfect match would score,
so a question in another language or with unknown words takes their weight away by itself. Weights are fitted
by `bench/fusion_weights.py`; measurements: docs/decisions/0205-trust.md.
"""

from __future__ import annotations

import numpy as np

from rag.index.hits import Hits
from rag.index.vectors import Floats

DENSE_WEIGHT = 1.6
"""What a standard deviation of dense similarity counts where words say nothing."""
DOUBT = 1.5
"""How much of that a unit of the best lexical share takes away."""
LEAST_TRUST = 0.25
"""What is always left of it."""
SHARE_WEIGHT = 9.0
RARE_WEIGHT = 3.5
PAIRS_WEIGHT = 2.4
NAMES_WEIGHT = 1.8
"""What the shares of `lexical.Scored` count."""
SMALLEST_SPREAD = 1e-3
"""Below it a collection's chunks are all alike and their differences are noise."""


def fuse(hits: Hits) -> Floats:
    """Return the joint score of each of `hits.ids`, higher is better.

    It is 1.6 trust · z(dense) + 9 share + 3.5 rare + 2.4 pairs + 1.8 names, where trust is 1 - 1.5 times the
    best share of any of the chunks, and z takes mean and standard deviation from the background sample. The
    combination of scores rather than ranks follows Bruch, Gai and Ingber, "An Analysis of Fusion Functions
    for Hybrid Retrieval" (2023).
    """
    words: Floats = (
        np.float32(SHARE_WEIGHT) * hits.lexical
        + np.float32(RARE_WEIGHT) * hits.rare
        + np.float32(PAIRS_WEIGHT) * hits.pairs
        + np.float32(NAMES_WEIGHT) * hits.names
    )
    background = hits.background if len(hits.background) else hits.dense
    if not len(background):
        return words
    scores: Floats = np.float32(DENSE_WEIGHT * trust(hits)) * standardised(hits.dense, background) + words
    return scores


def trust(hits: Hits) -> float:
    """Return the share of its weight that the dense leg keeps for this question, from 0.25 to 1."""
    best = float(hits.lexical.max(initial=0.0))
    return max(1.0 - DOUBT * best, LEAST_TRUST)


def standardised(dense: Floats, background: Floats) -> Floats:
    """Return `dense` in standard deviations of `background` above its mean."""
    spread = max(float(background.std()), SMALLEST_SPREAD)
    scores: Floats = (dense - np.float32(background.mean())) / np.float32(spread)
    return scores


def order(hits: Hits, scores: Floats) -> list[int]:
    """Return the places in `hits.ids` by descending score; equal ones by chunk id."""
    return [int(place) for place in np.lexsort((hits.ids, -scores))]
