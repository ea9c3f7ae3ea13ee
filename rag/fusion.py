"""Joins the two legs' scores into one order that trusts each leg as far as its scores allow.

Ranks hide what the legs know about themselves: reciprocal rank fusion gives the first lexical hit the same
say whether it matched every rare word of the question or one common one. So scores are added instead. The
dense score counts in standard deviations of the collection's own similarities to the question, which makes
embedders comparable. The lexical score is already a share of what a perfect match would score, so a
question in another language or with unknown words takes its own weight away, and it counts more than in
proportion: few words in common may be chance, many are not. Measurements: docs/decisions/0202-fusion.md.
"""

from __future__ import annotations

import numpy as np

from rag.index.collection import Hits
from rag.index.vectors import Floats

LEXICAL_WEIGHT = 8.0
"""Standard deviations of dense similarity that a lexical share is worth, in proportion."""
LEXICAL_SQUARE = 10.0
"""What the square of the share is worth on top, in the same unit."""
SMALLEST_SPREAD = 1e-3
"""Below it a collection's chunks are all alike and their differences are noise."""


def fuse(hits: Hits) -> Floats:
    """Return the joint score of each of `hits.ids`, higher is better: z(dense) + 8 share + 10 share².

    z takes mean and standard deviation from the background sample. The combination of scores rather than
    ranks follows Bruch, Gai and Ingber, "An Analysis of Fusion Functions for Hybrid Retrieval" (2023).
    """
    share = hits.lexical
    words: Floats = np.float32(LEXICAL_WEIGHT) * share + np.float32(LEXICAL_SQUARE) * share * share
    background = hits.background if len(hits.background) else hits.dense
    if not len(background):
        return words
    spread = max(float(background.std()), SMALLEST_SPREAD)
    scores: Floats = (hits.dense - np.float32(background.mean())) / np.float32(spread) + words
    return scores


def order(hits: Hits, scores: Floats) -> list[int]:
    """Return the places in `hits.ids` by descending score; equal ones by chunk id."""
    return [int(place) for place in np.lexsort((hits.ids, -scores))]
