"""Metrics and intervals: known values by hand, and properties that any sample keeps."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.evaluation import intervals
from rag.evaluation.intervals import balanced, bootstrap, median, paired
from rag.evaluation.metrics import (
    Place,
    exact,
    first_ranks,
    found_at,
    found_rank,
    holds,
    packed,
    passage_ranking,
    ranking,
)

A = Place("a", 10, 20)
B = Place("b", 0, 5)


@pytest.mark.parametrize(
    ("text", "answers", "expected"),
    [
        ("It was  in\nOctober 1973.", ["october 1973"], True),
        ("ﬁfty ½ ＡＢＣ", ["FIFTY", "nothing"], True),
        ("Straße", ["STRASSE"], True),
        ("nothing of it", ["in October"], False),
        ("anything", [], False),
        ("anything", ["  "], False),
    ],
)
def test_an_answer_inside_a_text(text: str, answers: list[str], expected: bool) -> None:
    assert holds(text, answers) is expected


def test_ranks_of_evidence() -> None:
    found = [Place("a", 0, 10), Place("a", 19, 30), Place("c", 0, 9), Place("b", 4, 9)]
    ranks = first_ranks([A, B], found)
    assert ranks == [2, 4]
    assert [found_at(ranks, cut, every=False) for cut in (1, 2, 4)] == [False, True, True]
    assert [found_at(ranks, cut, every=True) for cut in (1, 2, 4)] == [False, False, True]
    assert (found_rank(ranks, every=False), found_rank(ranks, every=True)) == (2, 4)
    assert (found_rank([None, 3], every=False), found_rank([None, 3], every=True)) == (3, None)
    assert found_at([], 10, every=True) is False


def test_evidence_in_what_was_read() -> None:
    assert packed([A], [Place("a", 5, 15), Place("a", 15, 25)], every=True)
    assert not packed([A], [Place("a", 5, 15), Place("a", 16, 25)], every=True)
    assert not packed([A], [Place("b", 5, 25)], every=False)
    assert packed([A, B], [Place("b", 0, 5)], every=False)
    assert not packed([A, B], [Place("b", 0, 5)], every=True)
    page = Place("p", 0, 100, page=True)
    assert packed([page], [Place("p", 40, 90)], every=True)
    assert not packed([page], [Place("p", 60, 100), Place("p", 61, 80)], every=True)
    assert not packed([], [B], every=True)


def test_ranking_by_hand() -> None:
    ndcg, reciprocal = ranking([0, 1, 0, 1], missed=1)
    ideal = 1 + 1 / math.log2(3) + 1 / math.log2(4)
    assert ndcg == pytest.approx((1 / math.log2(3) + 1 / math.log2(5)) / ideal)
    assert reciprocal == 0.5
    assert ranking([0] * 12 + [1]) == (0, 0)
    assert ranking([], missed=1) == (0, 0)
    assert ranking([0, 0]) == (0, 0)
    assert ranking([1] + [0] * 30)[0] == 1


def test_alternatives_count_once_and_needs_each() -> None:
    found = [Place("a", 0, 30), Place("b", 0, 9)]
    assert passage_ranking([A, B], found, every=False) == (1, 1)
    ndcg, _ = passage_ranking([B, Place("z", 0, 1)], found, every=True)
    assert ndcg == pytest.approx((1 / math.log2(3)) / (1 + 1 / math.log2(3)))


def test_exact_quotes() -> None:
    assert exact("abc", 1, 3, "bc")
    assert not exact("abc", 1, 3, "b")
    assert not exact("abc", 1, 1, "")


def test_an_interval_holds_its_figure_and_shrinks_with_the_sample() -> None:
    narrow, wide = bootstrap([0.0, 1.0] * 400), bootstrap([0.0, 1.0] * 20)
    assert narrow.value == wide.value == 0.5
    assert wide.low < narrow.low < 0.5 < narrow.high < wide.high
    assert narrow.high - narrow.low == pytest.approx(2 * 1.96 * 0.5 / math.sqrt(800), rel=0.15)
    assert bootstrap([0.0, 1.0] * 20) == wide


def test_documents_are_drawn_where_questions_of_one_agree() -> None:
    values = [float(number % 2) for number in range(20) for _ in range(10)]
    documents = [number for number in range(20) for _ in range(10)]
    alone, together = bootstrap(values), bootstrap(values, documents)
    assert together.high - together.low > 2 * (alone.high - alone.low)
    few = [number % (intervals.FEW_CLUSTERS - 1) for number in range(200)]
    assert bootstrap(values, few) == alone


def test_other_statistics() -> None:
    times = bootstrap([1.0, 2.0, 3.0, 4.0, 100.0], statistic=median)
    assert (times.value, times.low) == (3, 1)
    rows = np.array([[1, 1], [1, 1], [1, 0], [1, 1], [0, 0], [0, 1]] * 10, dtype=float)
    found = bootstrap(rows, statistic=balanced)
    assert found.value == pytest.approx((0.75 + 0.5) / 2)
    assert 0.3 < found.low < found.value < found.high < 0.9
    assert math.isnan(balanced(np.array([[1.0, 1.0]])))


def test_a_difference_that_is_there_and_one_that_is_not() -> None:
    random = np.random.default_rng(3)
    before = (random.random(200) < 0.5).astype(float)
    better = np.maximum(before, random.random(200) < 0.25)
    found = paired(before, better)
    assert found.value == pytest.approx(better.mean() - before.mean())
    assert 0 < found.low < found.value < found.high
    assert found.p < 0.01
    same = paired(before, before)
    assert (same.value, same.low, same.high, same.p) == (0, 0, 0, 1)


def test_one_question_proves_nothing() -> None:
    found = paired([0.0] * 20, [1.0] + [0.0] * 19)
    assert found.p == 1.0
    assert found.low == 0


def test_what_no_interval_can_be_made_of() -> None:
    with pytest.raises(ValueError, match="needs values"):
        bootstrap([])
    with pytest.raises(ValueError, match="can't be paired"):
        paired([1.0], [1.0, 2.0])
    with pytest.raises(ValueError, match="1 clusters for 2 values"):
        bootstrap([1.0, 2.0], ["a"])


@given(st.lists(st.floats(0.01, 0.99), min_size=1, max_size=30))
def test_bounds_lie_within_the_values(values: list[float]) -> None:
    found = bootstrap(values, samples=50)
    assert min(values) - 1e-9 <= found.low <= found.high <= max(values) + 1e-9


@given(st.lists(st.booleans(), min_size=1, max_size=30))
def test_swapping_the_runs_turns_the_difference_round(values: list[bool]) -> None:
    other = [not value for value in values]
    there, back = paired(values, other, samples=50), paired(other, values, samples=50)
    assert there.value == pytest.approx(-back.value)


def test_shares_that_are_all_alike_get_wilsons_interval() -> None:
    right, wrong = bootstrap([1.0] * 10), bootstrap([0.0] * 10)
    assert (right.value, round(right.low, 3), right.high) == (1, 0.722, 1)
    assert (wrong.value, wrong.low, round(wrong.high, 3)) == (0, 0, 0.278)
    assert bootstrap([1.0] * 100).low > 0.96
    documents = [number // 10 for number in range(100)]
    assert bootstrap([1.0] * 100, documents).low == right.low
