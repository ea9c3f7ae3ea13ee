"""Sums over postings: the compiled kernel and numpy come to the same, to the last unit."""

from __future__ import annotations

import numpy as np
import pytest

from rag.index import postings
from rag.index.postings import Part, Postings, kernel
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
    first, last = segment.starts[:-1][terms], segment.starts[1:][terms]
    part = Part(segment, first, last, segment.norm(1.2, 0.75, 180.0))
    compiled, plain = Postings((part,)), Postings((part,))
    vars(plain)["_lists"] = None
    own, same = compiled.nothing(3, among), plain.nothing(3, among)
    for _ in range(2):  # sums are added to
        compiled.add(own, slice(None), weights, (True, False, True), among)
        plain.add(same, slice(None), weights, (True, False, True), among)
    assert np.array_equal(own, same)

    every = np.arange(ROWS) if among is None else among
    expected = np.zeros((3, ROWS))
    for term, own in zip(terms, weights.T, strict=True):
        at = slice(segment.starts[term], segment.starts[term + 1])
        counts = segment.counts[at].astype(np.float32)
        worth = counts / (part.norm[segment.rows[at]] + counts)
        for line in range(3):
            expected[line, segment.rows[at]] += 2 * np.rint(own[line] * (1 if line == 1 else worth))
    assert np.array_equal(same, expected[:, every])


@pytest.mark.parametrize("share", [None, 0.002, 0.3])
def test_segments_are_summed_as_if_they_were_one(segment: Segment, share: float | None) -> None:
    rng = np.random.default_rng(2)
    other = Segment(
        np.arange(ROWS, ROWS + 10, dtype=np.int64),
        np.full(10, 50, dtype=np.float32),
        np.array([1, 7], dtype=np.uint64),
        np.array([0, 2, 5], dtype=np.int64),
        np.array([3, 8, 0, 3, 9], dtype=np.int32),
        np.array([1, 2, 3, 4, 5], dtype=np.uint8),
    )
    norms = segment.norm(1.2, 0.75, 180.0), other.norm(1.2, 0.75, 180.0)
    terms = np.array([1, 5, 7, 9], dtype=np.uint64)
    # the second one twice, so that the one in the middle is not looked at whenever nothing of it is wanted
    held = [segment, other, other]
    parts = tuple(Part(each, *each.find(terms), norms[each is other]) for each in held)
    among = None if share is None else np.append(np.flatnonzero(rng.random(ROWS) < share), ROWS + 19)
    weights = np.rint(rng.random((2, 3)) * (1 << 28)).astype(np.float32)
    for lists in (kernel(), None):
        several, found = Postings(parts), []
        if lists is None:
            vars(several)["_lists"] = None
        out = several.nothing(2, among)
        several.add(out, slice(1, 4), weights, (True, False), among)
        for part, base in zip(parts, several.bounds, strict=False):
            own, alone = Postings((part,)), None
            if among is not None:
                alone = among[(among >= base) & (among < base + len(part.segment.ids))] - base
            sums = own.nothing(2, alone)
            own.add(sums, slice(1, 4), weights, (True, False), alone)
            found.append(sums)
        assert np.array_equal(out, np.concatenate(found, axis=1))
        assert out.any()
