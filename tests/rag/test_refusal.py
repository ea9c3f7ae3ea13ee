"""Refusal: a score that rises with the evidence, and a reason that a program can read."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.likeness import ABOUT
from rag.quotes import Quote
from rag.quoting import Evidence
from rag.refusal import ALONE, FEW_TERMS, READ, READ_SIGNALS, SIGNALS, Scale, judge, signals

QUOTE = Quote("doc_1", 1, 0, 4, "text", 1, 0.9, (0, 4))


SCALES = pytest.mark.parametrize("scale", [ALONE, READ], ids=["alone", "read"])


def names(scale: Scale) -> tuple[str, ...]:
    return READ_SIGNALS if scale is READ else SIGNALS


def evidence(scale: Scale, values: tuple[float, ...] | None = None) -> Evidence:
    named: dict[str, Any] = dict(zip(names(scale), values or scale.centre, strict=True))
    return replace(Evidence((QUOTE,), coverage=0.7, share=0.7, dense=0.86, sentences=9), **named)


@SCALES
def test_the_usual_evidence_of_an_answer_is_enough_and_nothing_is_not(scale: Scale) -> None:
    assert len(scale.centre) == len(scale.weights)
    assert signals(evidence(scale)) == scale.centre
    assert judge(evidence(scale)).reason == "supported"
    assert judge(evidence(scale)).enough
    nothing = judge(Evidence())
    assert (nothing.reason, nothing.score, nothing.enough, nothing.near) == ("no_passages", 0.0, False, False)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"similarity": 0.76, "coverage": 0.6}, "low_similarity"),
        ({"similarity": 0.80, "coverage": FEW_TERMS / 2}, "terms_missing"),
        ({"similarity": ABOUT + 0.01, "names": 1.0, "numbers": 1.0}, "not_stated"),
    ],
)
@SCALES
def test_a_refusal_says_what_was_missing_most(scale: Scale, changed: dict[str, Any], reason: str) -> None:
    verdict = judge(replace(evidence(scale), **changed))
    assert (verdict.enough, verdict.reason) == (False, reason)
    assert verdict.near == (reason == "not_stated")
    assert verdict.as_dict() == {
        "score": round(verdict.score, 4),
        "threshold": scale.threshold,
        "reason": reason,
    }


@given(
    st.sampled_from([ALONE, READ]),
    st.tuples(*[st.floats(-2, 2)] * len(SIGNALS)),
    st.integers(0, len(SIGNALS) - 1),
    st.floats(0, 5),
)
def test_more_evidence_never_speaks_against_an_answer(
    scale: Scale, given_values: tuple[float, ...], which: int, more: float
) -> None:
    values = given_values[: len(scale.centre)]
    which %= len(values)
    less = judge(evidence(scale, values))
    better = list(values)
    better[which] += more if scale.weights[which] >= 0 else -more
    assert 0 <= less.score <= judge(evidence(scale, tuple(better))).score <= 1
    assert less.enough == (less.score >= scale.threshold)


@SCALES
def test_what_is_good_for_an_answer_counts_for_it(scale: Scale) -> None:
    signs = dict(zip(names(scale), scale.weights, strict=True))
    assert signs["similarity"] > 0
    assert signs.get("margin", 1.0) > 0
    assert all(signs[name] < 0 for name in ("names", "numbers"))
    assert signs.get("turned", -1.0) < 0


@SCALES
def test_lower_cosines_of_a_script_are_made_up_for(scale: Scale) -> None:
    latin = replace(evidence(scale), similarity=0.87, script="latin")
    arabic = replace(latin, script="arabic")
    assert judge(arabic).score > judge(latin).score
