"""Trial: the base and the student asked the same questions on documents that neither was taught."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rag.evaluation.compare import Change
from rag.evaluation.figures import BY_NAME, Metric, Value
from rag.evaluation.intervals import paired
from rag.evaluation.outcome import Outcome


def own_words(each: Outcome) -> Value:
    """Whether sentences that the model wrote itself, and that were let through, hold a gold answer."""
    if not each.answerable or not each.answers:
        return None
    return float(each.kind == "prose" and each.holds_answer)


OWN = Metric("own", "gold answer in the model's own sentences", own_words)
_QUOTE = BY_NAME["quote"]
MEASURED = (OWN, *(BY_NAME[name] for name in ("answer", "answered", "refused", "balanced", "quotes")))


def beside_quotes(student: Sequence[Outcome]) -> Change | None:
    """How often the student's own sentences hold the gold answer, after how often the first quote does, which
    is shown where no model writes; None where no question has a gold answer."""
    rows = [(_QUOTE.value(each), OWN.value(each), each.cluster) for each in student]
    return _change("own beside quote", rows, OWN)


def changes(base: Sequence[Outcome], student: Sequence[Outcome]) -> tuple[Change, ...]:
    """Each metric of both over the same questions in the same order, documents drawn where there are enough.

    Raises ValueError where the questions differ.
    """
    if [each.id for each in base] != [each.id for each in student]:
        raise ValueError("the two models were asked different questions")
    found = []
    for metric in MEASURED:
        rows = [(metric.value(a), metric.value(b), a.cluster) for a, b in zip(base, student, strict=True)]
        found.append(_change(metric.name, rows, metric))
    return tuple(each for each in found if each is not None)


def _change(name: str, rows: Sequence[tuple[Value, Value, str]], metric: Metric) -> Change | None:
    """A paired change of the rows that have both values, each with its document."""
    kept = [row for row in rows if row[0] is not None and row[1] is not None]
    if not kept:
        return None
    first = np.array([a for a, _, _ in kept], dtype=np.float64)
    second = np.array([b for _, b, _ in kept], dtype=np.float64)
    one, two = metric.statistic(first), metric.statistic(second)
    if np.isnan(one) or np.isnan(two):
        return None
    shift = paired(first, second, [cluster for _, _, cluster in kept], statistic=metric.statistic)
    return Change(name, len(kept), one, two, shift.value, shift.low, shift.high, shift.p)
