"""Trial: the base and the student asked the same questions on documents that neither was taught."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from rag.evaluation.compare import Change
from rag.evaluation.figures import BY_NAME, Metric, Value
from rag.evaluation.intervals import paired
from rag.evaluation.metrics import holds, normalised
from rag.evaluation.outcome import Outcome
from rag.prose import MARK
from rag.quoting import Evidence
from rag.refusal import Verdict, judge
from rag.sentences import sentence_spans


@dataclass(frozen=True)
class Runs:
    """What became of the same questions, in the same order, in three ways of using one model.

    Attributes:
        doubted: asked by the service; where all it writes is the refusal, the best quoted sentence stands.
        believed: asked by the service; its refusal is the answer.
        alone: every question is put to it, also those that the service refuses by itself.
    """

    doubted: tuple[Outcome, ...]
    believed: tuple[Outcome, ...]
    alone: tuple[Outcome, ...]

    def used(self, *, refuses: bool) -> tuple[Outcome, ...]:
        """Those of the way in which the model is used whose refusal is believed, or is not."""
        return self.believed if refuses else self.doubted


@dataclass(frozen=True)
class Measured:
    """The student beside its base.

    Attributes:
        changes: of each metric, the base doubted, the student as it is to be used.
        told: of `balanced` where every question is put to the model alone.
        believing: of `balanced`, from the student doubted to the student believed.
        beside: of the student's own sentences, after the first quote, which is shown where no model writes.
    """

    changes: tuple[Change, ...]
    told: Change | None
    believing: Change | None
    beside: Change | None

    @property
    def refuses(self) -> bool:
        """Whether the student's refusal is to be believed: it adds to what the service tells by itself, by
        more than chance."""
        return self.believing is not None and self.believing.low > 0


def always(evidence: Evidence) -> Verdict:
    """The service's verdict, but that whatever can be quoted from is put to the model."""
    found = judge(evidence)
    return replace(found, reason="supported") if evidence.quotes else found


def refused_unasked(each: Outcome) -> bool:
    """Whether the service refused by itself, and no model was asked."""
    return not each.error and not each.answered and each.score < each.threshold


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
    believing = change("believed", _BALANCED, student.doubted, student.believed)
    found = Measured((), change("alone", _BALANCED, base.alone, student.alone), believing, None)
    used = student.used(refuses=found.refuses)
    changes = (change(metric.name, metric, base.doubted, used) for metric in MEASURED)
    return replace(
        found, changes=tuple(each for each in changes if each is not None), beside=beside_quotes(used)
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
