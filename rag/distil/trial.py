"""Trial: the base and the student asked the same questions on documents that neither was taught."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from rag.distil.counting import cross_fitted, fitted
from rag.evaluation.compare import Change
from rag.evaluation.figures import BY_NAME, Metric, Value
from rag.evaluation.intervals import paired
from rag.evaluation.metrics import holds, normalised
from rag.evaluation.outcome import Outcome
from rag.prose import MARK
from rag.quoting import Evidence
from rag.refusal import Counted, Verdict, judge
from rag.sentences import sentence_spans


@dataclass(frozen=True)
class Runs:
    """What becomes of the same questions, in the same order, with one model.

    Attributes:
        put: every question that something can be quoted for is put to the model.
        kept: every question is refused.
        margins: by how much the model finds that the likeliest quote says what is asked, in nats
            (`rag.checking`).
    """

    put: tuple[Outcome, ...]
    kept: tuple[Outcome, ...]
    margins: tuple[float, ...]

    def by(self, answered: Sequence[bool]) -> tuple[Outcome, ...]:
        """The outcomes where those questions are answered and the others are refused."""
        return tuple(
            one if wanted else other for one, other, wanted in zip(self.put, self.kept, answered, strict=True)
        )

    def plain(self) -> tuple[Outcome, ...]:
        """The outcomes where the service decides by itself."""
        return self.by([each.score >= each.threshold for each in self.put])

    def alone(self) -> tuple[Outcome, ...]:
        """The outcomes where the model alone decides: it answers what it takes to be said."""
        return self.by([margin > 0 for margin in self.margins])

    def counted(self) -> tuple[Outcome, ...] | None:
        """The outcomes where both decide, by a rule that for each document was fitted to the others; None
        where they are too few."""
        answered = cross_fitted(self.put, self.margins)
        return None if answered is None else self.by(answered)


@dataclass(frozen=True)
class Measured:
    """The student beside its base.

    Attributes:
        used: the student's outcomes as it is to be used: with its word counted, or without.
        changes: of each metric, from the base to the student as it is to be used.
        told: of `balanced`, from the base to the student where either decides alone.
        counting: of `balanced`, from the service by itself to the service that counts the student's word.
        rule: how that is counted, where it tells more by more than chance.
        beside: of the student's own sentences, after the first quote, which is shown where no model writes.
    """

    used: tuple[Outcome, ...]
    changes: tuple[Change, ...]
    told: Change | None
    counting: Change | None
    rule: Counted | None
    beside: Change | None


def always(evidence: Evidence) -> Verdict:
    """The service's verdict, but that whatever can be quoted from is put to the model."""
    found = judge(evidence)
    return replace(found, reason="supported") if evidence.quotes else found


def never(evidence: Evidence) -> Verdict:
    """The service's verdict, but that no question is answered."""
    found = judge(evidence)
    return replace(found, reason="not_stated") if found.enough else found


def own_words(each: Outcome) -> Value:
    """Whether sentences that the model wrote itself, and that were let through, hold a gold answer."""
    if not each.answerable or not each.answers:
        return None
    return float(each.kind == "prose" and each.holds_answer)


def copied_words(each: Outcome) -> Value:
    """Whether such a sentence is a quote's, word for word."""
    own = own_words(each)
    if not own:
        return own
    quoted = [normalised(quote.text) for quote in each.quotes]
    said = [MARK.sub("", each.answer[a:b]) for a, b in sentence_spans(each.answer)]
    return float(any(holds(s, each.answers) and any(normalised(s) in q for q in quoted) for s in said))


OWN = Metric("own", "gold answer in the model's own sentences", own_words)
COPIED = Metric("copied", "gold answer in one of them that is a quote's, word for word", copied_words)
_QUOTE = BY_NAME["quote"]
_BALANCED = BY_NAME["balanced"]
MEASURED = (OWN, COPIED, *(BY_NAME[name] for name in ("answer", "answered", "refused", "balanced", "quotes")))


def measured(base: Runs, student: Runs) -> Measured:
    """Both models over the same questions. Raises ValueError where the questions differ."""
    counted = student.counted()
    counting = None if counted is None else change("counted", _BALANCED, student.plain(), counted)
    rule = fitted(student.put, student.margins) if counting is not None and counting.low > 0 else None
    used = student.plain() if counted is None or rule is None else counted
    changes = (change(metric.name, metric, base.plain(), used) for metric in MEASURED)
    return Measured(
        used,
        tuple(each for each in changes if each is not None),
        change("alone", _BALANCED, base.alone(), student.alone()),
        counting,
        rule,
        beside_quotes(used),
    )


def beside_quotes(student: Sequence[Outcome]) -> Change | None:
    """How often the student's own sentences hold the gold answer, after how often the first quote does, which
    is shown where no model writes; None where no question has a gold answer."""
    return _change("own beside quote", [(_QUOTE.value(e), OWN.value(e), e.cluster) for e in student], OWN)


def change(name: str, metric: Metric, first: Sequence[Outcome], second: Sequence[Outcome]) -> Change | None:
    """A metric of two runs over the same questions in the same order, documents drawn where there are enough;
    None where it says nothing of them.

    Raises ValueError where the questions differ.
    """
    if [each.id for each in first] != [each.id for each in second]:
        raise ValueError("the two models were asked different questions")
    rows = [(metric.value(a), metric.value(b), a.cluster) for a, b in zip(first, second, strict=True)]
    return _change(name, rows, metric)


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
