"""Fusion: each leg has the say that its scores deserve."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from rag.fusion import fuse, order, trust
from rag.index.hits import Hits


def _hits(
    dense: list[float], lexical: list[float], background: list[float] | None = None, **more: list[float]
) -> Hits:
    count = len(dense)
    zeros = np.zeros(count, dtype=np.int64)
    rare, pairs, names = (
        np.array(more.get(name, np.zeros(count)), dtype=np.float32) for name in ("rare", "pairs", "names")
    )
    return Hits(
        np.arange(1, count + 1, dtype=np.int64),
        np.array(dense, dtype=np.float32),
        np.array(lexical, dtype=np.float32),
        rare,
        pairs,
        names,
        zeros,
        zeros,
        np.array(dense if background is None else background, dtype=np.float32),
        1.0,
    )


def test_the_score_is_the_sum_that_the_record_states() -> None:
    hits = _hits(
        [0.9, 0.8], [0.1, 0.5], [0.7, 0.8, 0.9, 0.8], rare=[0, 0.4], pairs=[0.2, 0.1], names=[0.3, 0]
    )
    spread = np.std([0.7, 0.8, 0.9, 0.8])
    dense = 1.6 * (1 - 1.5 * 0.5) * np.array([0.1, 0.0]) / spread
    words = 9 * np.array([0.1, 0.5]) + 3.5 * np.array([0, 0.4]) + 2.4 * np.array([0.2, 0.1])
    assert np.allclose(fuse(hits), dense + words + 1.8 * np.array([0.3, 0]), atol=1e-4)


def test_the_better_the_words_match_the_less_the_vectors_count() -> None:
    assert trust(_hits([0.8], [0.0])) == 1
    assert trust(_hits([0.8, 0.9], [0.2, 0.1])) == pytest.approx(0.7)
    assert trust(_hits([0.8], [0.9])) == 0.25


def test_without_a_word_in_common_the_vectors_decide() -> None:
    hits = _hits([0.80, 0.86, 0.83], [0, 0, 0])
    assert order(hits, fuse(hits)) == [1, 2, 0]


def test_a_faint_lexical_match_does_not_beat_a_clear_vector() -> None:
    background = list(np.random.default_rng(0).normal(0.78, 0.02, 500))
    hits = _hits([0.90, 0.80], [0.0, 0.05], background)
    assert order(hits, fuse(hits)) == [0, 1]


def test_a_strong_lexical_match_beats_a_vague_vector() -> None:
    background = list(np.random.default_rng(0).normal(0.78, 0.02, 500))
    hits = _hits([0.83, 0.82], [0.02, 0.5], background)
    assert order(hits, fuse(hits)) == [1, 0]


def test_an_embedder_of_another_scale_gives_the_same_order() -> None:
    rng = np.random.default_rng(1)
    dense, lexical = rng.normal(0.8, 0.02, 50), rng.random(50) * 0.4
    narrow = _hits(list(dense), list(lexical))
    wide = _hits(list((dense - 0.8) * 10), list(lexical))
    assert order(narrow, fuse(narrow)) == order(wide, fuse(wide))


def test_chunks_that_are_all_alike_and_empty_collections_are_no_error() -> None:
    assert np.allclose(fuse(_hits([0.8, 0.8], [0.1, 0.2])), [0.9, 1.8], atol=1e-3)
    assert fuse(_hits([], [])).tolist() == []


unit = st.floats(0, 1, width=32)


@given(arrays(np.float32, 6, elements=unit), arrays(np.float32, (4, 6), elements=unit), st.integers(0, 5))
def test_more_of_any_score_never_ranks_lower(dense: np.ndarray, shares: np.ndarray, at: int) -> None:
    def ranked() -> int:
        lexical, rare, pairs, names = shares
        hits = _hits(
            list(dense), list(lexical), [0.1, 0.5, 0.9], rare=list(rare), pairs=list(pairs), names=list(names)
        )
        scores = fuse(hits)
        return int((scores > scores[at] + 1e-4).sum())

    before = ranked()
    for leg in (dense, *shares):
        leg[at] = 1.0
        after = ranked()
        assert after <= before
        before = after
