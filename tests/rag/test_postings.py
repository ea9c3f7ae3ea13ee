"""Sums over postings: the compiled kernel and numpy come to the same, to the last unit."""

from __future__ import annotations

import numpy as np
import pytest

from rag.index import postings
from rag.index.postings import Part, kernel
from rag.index.segments import Segment

ROWS = 3000


@pytest.fixture(scope="module")
def segment() -> Segment:
    """Lists of all lengths, from none to a posting in every row."""
    rng = np.random.default_rng(0)
    lists = [np.sort(rng.choice(ROWS, size, replace=False)) for size in (0, 1, 7, 255, 256, 257, 1500, ROWS)]
    ends = np.cumsum([0, *map(len, lists)])
    return Segment(
        np.arange(ROWS, dtype=np.int64),
        rng.integers(1, 400, ROWS).astype(np.float32),
        np.arange(len(lists), dtype=np.uint64),
        ends.astype(np.int64),
        np.concatenate(lists).astype(np.int32),
        rng.integers(1, 256, ends[-1]).astype(np.uint8),
    )


@pytest.mark.parametrize("share", [None, 0.0, 0.001, 0.02, 0.4, 1.0])
def test_the_kernel_and_numpy_agree_to_the_last_unit(
    segment: Segment, share: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postings, "LONG", 100)
    assert kernel() is not None, "run python -m model.native.build"
    rng = np.random.default_rng(1)
    among = None if share is None else np.flatnonzero(rng.random(ROWS) < share)
    terms = np.array([3, 0, 1, 7, 2, 5, 6, 4])
    weights = np.rint(rng.random((3, len(terms))) / len(terms) * (1 << 30)).astype(np.float32)
    weights[0, 3] = weights[2, 5] = 0
    part = Part(segment, segment.starts[:-1], segment.starts[1:], segment.norm(1.2, 0.75, 180.0))
    compiled, plain = part.nothing(3, among), part.nothing(3, among)
    for _ in range(2):  # sums are added to
        part.add(compiled, terms, weights, (True, False, True), among)
        part._add(plain, terms, weights, (True, False, True), among)
    assert np.array_equal(compiled, plain)

    every = np.arange(ROWS) if among is None else among
    expected = np.zeros((3, ROWS))
    for term, own in zip(terms, weights.T, strict=True):
        at = slice(segment.starts[term], segment.starts[term + 1])
        counts = segment.counts[at].astype(np.float32)
        worth = counts / (part.norm[segment.rows[at]] + counts)
        for line in range(3):
            expected[line, segment.rows[at]] += 2 * np.rint(own[line] * (1 if line == 1 else worth))
    assert np.array_equal(plain, expected[:, every])
