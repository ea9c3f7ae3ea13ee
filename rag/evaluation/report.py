"""Reports: a run, a comparison or a sweep as one HTML file, with each question's way."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rag.evaluation.chart import sweep_chart
from rag.evaluation.compare import Comparison, Turned
from rag.evaluation.figures import BY_NAME, Figure, shown
from rag.evaluation.outcome import Outcome
from rag.evaluation.page import listing, page, said, table, text
from rag.evaluation.runfile import Run
from rag.evaluation.sweep import Sweep

_KINDS = (
    ("wrong", "without the gold answer or evidence"),
    ("unfound", "evidence not found"),
    ("unpacked", "found, but not read"),
    ("unquoted", "read, but not quoted"),
    ("refused", "refused"),
    ("wrongly-refused", "refused, though answerable"),
    ("wrongly-answered", "answered, though unanswerable"),
    ("error", "ended in an error"),
)
_ORDERS = (("rank", "evidence found late first"), ("time", "slowest first"), ("score", "surest first"))
_NEVER = 10**6
"""A rank for the order by rank, behind all real ones."""


def run_report(run: Run) -> str:
    """The report of one run."""
    body = (
        _about(run.about)
        + "<h2>Figures</h2>"
        + figures_table(run.figures)
        + "<h2>Questions</h2>"
        + listing([question(each) for each in run.outcomes], _KINDS, _ORDERS)
    )
    return page(f"Evaluation of {run.about.get('set', 'a set')}", body)


def comparison_report(first: Run, second: Run, found: Comparison) -> str:
    """The report of two runs over the same questions."""
    rows = []
    for change in found.changes:
        unit = BY_NAME[change.metric].unit
        values = (change.first, change.second, change.difference, change.low, change.high)
        cells = [text(shown(value, unit)) for value in values]
        mark = ' class="good"' if _good(change.metric, change.difference) else ' class="bad"'
        shown_p = f"<strong{mark}>{change.p:.3f}</strong>" if change.p < 0.05 else f"{change.p:.3f}"
        meaning = text(BY_NAME[change.metric].meaning)
        rows.append([text(change.metric), str(change.questions), *cells, shown_p, meaning])
    settings = [[text(name), said(one), said(two)] for name, (one, two) in found.settings.items()]
    left_out = (
        f'<p class="bad">{found.left_out} questions are in one of the runs alone and were left out.</p>'
        if found.left_out
        else ""
    )
    body = (
        f"<p>A: {said(first.about.get('created', ''))}. B: {said(second.about.get('created', ''))}. "
        f"{found.common} questions.</p>{left_out}"
        + (table(("differs", "A", "B"), settings) if settings else "")
        + "<h2>Figures</h2>"
        + table(("metric", "n", "A", "B", "B - A", "from", "to", "p", "meaning"), rows, numbers=range(1, 8))
        + f"<h2>Questions that changed: {len(found.turned)}</h2>"
        + listing(
            [_turned(each) for each in found.turned], (("better", "better"), ("worse", "worse")), _ORDERS[1:]
        )
    )
    return page("Comparison of two runs", body)


def figures_table(figures: Iterable[Figure]) -> str:
    """Figures with their intervals."""
    rows = []
    for figure in figures:
        metric = BY_NAME[figure.metric]
        value, low, high = (
            text(shown(each, metric.unit)) for each in (figure.value, figure.low, figure.high)
        )
        unit = "" if metric.unit == "share" else f" ({metric.unit})"
        rows.append(
            [text(figure.metric), str(figure.questions), value, low, high, text(metric.meaning + unit)]
        )
    return table(("metric", "n", "value", "from", "to", "meaning"), rows, numbers=range(1, 5))


def question(each: Outcome) -> str:
    """One question's way, folded."""
    kinds = _kinds(each)
    rank = each.found if each.found is not None else _NEVER if each.located else 0
    verdict, name = _verdict(each)
    return (
        f'<details data-kinds="{" ".join(kinds)}" data-rank="{rank}" data-time="{each.milliseconds:.0f}" '
        f'data-score="{each.score:.6f}"><summary><span class="{name}">{verdict}</span> '
        f'{said(each.question)} <span class="quiet">{text(each.id)}</span></summary>{_way(each)}</details>'
    )


def _way(each: Outcome) -> str:
    rows = [
        ["gold answer", _answers(each.answers) if each.answerable else "the documents do not say"],
        ["searched", "<br>".join(map(said, each.searches)) or "not measured"],
        ["found", _found(each)],
        ["read", _read(each)],
        ["quoted", "".join(map(_quote, each.quotes)) or "nothing"],
        ["answered", _answer(each)],
        ["why", f"{text(each.reason)}, score {each.score:.3f}, threshold {each.threshold:.3f}"],
        ["took", _took(each)],
    ]
    if each.missing:
        rows.insert(1, ["not located", "<br>".join(said(what) for what in each.missing)])
    if each.error:
        rows.append(["error", said(each.error)])
    return table(("step", "what came of it"), rows)


def _kinds(each: Outcome) -> list[str]:
    kinds = []
    if each.error:
        kinds.append("error")
    elif not each.answered:
        kinds.append("refused")
    if each.answerable:
        if not each.answered and not each.error:
            kinds.append("wrongly-refused")
        if each.located and each.found is None:
            kinds.append("unfound")
        elif each.located and not each.packed:
            kinds.append("unpacked")
        elif not _right(each):
            kinds.append("unquoted")
        if not _right(each):
            kinds.append("wrong")
    elif each.answered:
        kinds += ["wrong", "wrongly-answered"]
    return kinds


def _right(each: Outcome) -> bool:
    if each.answers:
        return any(quote.holds for quote in each.quotes) or each.holds_answer
    return any(quote.evidence for quote in each.quotes) if each.located else each.answered


def _verdict(each: Outcome) -> tuple[str, str]:
    if each.error:
        return "error", "bad"
    if not each.answerable:
        return ("answered", "bad") if each.answered else ("refused", "good")
    if not each.answered:
        return "refused", "bad"
    return ("right", "good") if _right(each) else ("without it", "bad")


def _answers(answers: Sequence[str]) -> str:
    return " or ".join(said(answer) for answer in answers) or "not given"


def _found(each: Outcome) -> str:
    if not each.located:
        return "the question names no evidence that the documents hold"
    if each.found is None:
        return '<span class="bad">not among the passages of the search</span>'
    ranks = ", ".join("not found" if rank is None else str(rank) for rank in each.ranks[:20])
    return f"at rank {each.found}" + (f" (places: {ranks})" if len(each.ranks) > 1 else "")


def _read(each: Outcome) -> str:
    packed = ""
    if each.located:
        packed = (
            "; the evidence was read" if each.packed else '; <span class="bad">the evidence was not</span>'
        )
    return f"{each.packed_tokens:,} of {each.budget:,} tokens, {text(each.packed_mode or 'nothing')}{packed}"


def _quote(quote: Any) -> str:
    marks = []
    if quote.holds:
        marks.append('<span class="good">holds the gold answer</span>')
    if quote.evidence:
        marks.append('<span class="good">touches the evidence</span>')
    if not quote.exact:
        marks.append('<span class="bad">is not the stored text</span>')
    if not quote.page_right:
        marks.append('<span class="bad">page is wrong</span>')
    where = f", page {quote.page}" if quote.page is not None else ""
    return (
        f"<div>{said(quote.filename)}{where}, {quote.start} to {quote.end}"
        f"{''.join('; ' + mark for mark in marks)}{said(quote.text, 'blockquote')}</div>"
    )


def _answer(each: Outcome) -> str:
    kind = f"{text(each.kind)}, {text(each.status)}"
    if each.kind == "quotes":
        return f"{kind}: the quotes"
    return f"{kind}{said(each.answer, 'blockquote') if each.answer else ''}"


def _took(each: Outcome) -> str:
    steps = ", ".join(
        f"{text(name)} {value:.0f}" for name, value in each.timings.items() if isinstance(value, int | float)
    )
    return f"{each.milliseconds:.0f} ms ({steps})"


def _turned(each: Turned) -> str:
    kinds = ["better"] * bool(each.better) + ["worse"] * bool(each.worse)
    parts = [f'<span class="good">+ {text(name)}</span>' for name in each.better]
    parts += [f'<span class="bad">- {text(name)}</span>' for name in each.worse]
    return (
        f'<details data-kinds="{" ".join(kinds)}" data-time="{each.second.milliseconds:.0f}" '
        f'data-score="{each.second.score:.6f}"><summary>{" ".join(parts)} {said(each.second.question)} '
        f'<span class="quiet">{text(each.second.id)}</span></summary>'
        f"<h3>A</h3>{_way(each.first)}<h3>B</h3>{_way(each.second)}</details>"
    )


def _good(metric: str, difference: float) -> bool:
    return (difference > 0) is BY_NAME[metric].higher


def _about(about: Mapping[str, Any]) -> str:
    rows = []
    for name, value in about.items():
        parts = [f"{key} {each}" for key, each in value.items()] if isinstance(value, dict) else [str(value)]
        rows.append([text(name), said(", ".join(parts))])
    return table(("of", "value"), rows)


def sweep_report(about: Mapping[str, Any], found: Sweep) -> str:
    """The report of a sweep over budgets."""
    rows = [
        [
            f"<strong>{trial.budget:,}</strong>" if trial.budget == found.chosen else f"{trial.budget:,}",
            str(trial.questions),
            f"{trial.quality:.3f}",
            f"{trial.low:.3f}",
            f"{trial.high:.3f}",
            f"{trial.below_best:.3f}",
            f"{trial.standard_error:.3f}",
            f"{trial.tokens:,.0f}",
            f"{trial.latency:,.0f}",
        ]
        for trial in found.trials
    ]
    head = ("budget", "n", found.metric, "from", "to", "below the best", "standard error", "tokens", "ms")
    body = (
        _about(about)
        + f"<h2>Budgets</h2>{sweep_chart(found)}<p>Chosen: <strong>{found.chosen:,} tokens</strong>, "
        + f"{text(found.rule)}.</p>"
        + table(head, rows, numbers=range(9))
    )
    return page(f"Budgets on {about.get('set', 'a set')}", body)
