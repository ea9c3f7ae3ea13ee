"""Refusal: a score that rises with the evidence, and a reason that a program can read."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.quoting import Evidence, Quote
from rag.refusal import CENTRE, SIGNALS, THRESHOLD, WEIGHTS, judge, signals

QUOTE = Quote("doc_1", 1, 0, 4, "text", 1, 0.9, (0, 4))
FIELDS = ("similarity", "coverage", "share", "dense", "fused")


def evidence(values: tuple[float, ...] = CENTRE) -> Evidence:
    return Evidence((QUOTE,), **dict(zip(FIELDS, values, strict=True)), sentences=9)


def test_the_usual_evidence_of_an_answer_is_enough_and_nothing_is_not() -> None:
    assert len(SIGNALS) == len(CENTRE) == len(WEIGHTS) == len(FIELDS)
    assert signals(evidence()) == CENTRE
    assert judge(evidence()).reason == "supported"
    assert judge(evidence()).enough
    nothing = judge(Evidence())
    assert (nothing.reason, nothing.score, nothing.enough) == ("no_passages", 0.0, False)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"similarity": 0.76, "dense": 0.76, "coverage": 0.6}, "low_similarity"),
        ({"similarity": 0.80, "dense": 0.78, "coverage": 0.0, "share": 0.1, "fused": 1.0}, "terms_missing"),
    ],
)
def test_a_refusal_says_what_was_missing_most(changed: dict[str, float], reason: str) -> None:
    verdict = judge(replace(evidence(), **changed))
    assert (verdict.enough, verdict.reason) == (False, reason)
    assert verdict.as_dict() == {"score": round(verdict.score, 4), "threshold": THRESHOLD, "reason": reason}


values = st.tuples(*[st.floats(-1, 1)] * 4, st.floats(-50, 200))


@given(values, st.integers(0, 4), st.floats(0, 5))
def test_more_evidence_never_speaks_against_an_answer(
    given_values: tuple[float, ...], which: int, more: float
) -> None:
    less = judge(evidence(given_values))
    better = list(given_values)
    better[which] += more
    assert 0 <= less.score <= judge(evidence(tuple(better))).score <= 1
    assert less.enough == (less.score >= THRESHOLD)
