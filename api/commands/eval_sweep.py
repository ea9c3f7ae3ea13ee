"""`longleaf eval sweep`: the same questions at several budgets, and the budget that the rule chooses."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from api.commands.eval import ask_all
from api.commands.eval_session import Asking, Session, choose, session
from api.terminal import USAGE, fail, say, say_json, warn
from rag.errors import InvalidRequest
from rag.evaluation.outcome import Outcome
from rag.evaluation.sweep import METRICS, Sweep, budgets_up_to, metric_for, sweep
from rag.settings import Settings
from rag.store.repositories import Collections
from rag.store.repositories.collections import LEAST_BUDGET

_FEW = 20
"""Questions below which a choice says little."""


def run(
    settings: Settings,
    asking: Asking,
    budgets: str | None,
    metric: str,
    report: Path | None,
    *,
    apply: bool,
    as_json: bool,
) -> None:
    """Try, print, and set the collection's budget where that is asked for."""
    wanted = _wanted(budgets)
    if metric not in ("auto", *METRICS):
        fail(f"--metric {metric}: take one of {', '.join(METRICS)}", USAGE)
    if apply and asking.collection is None:
        fail("--apply sets a collection's budget: name it by --collection", USAGE)
    chosen = choose(asking)
    with session(settings, asking.collection, chosen.folders) as asked:
        runs: list[tuple[int, list[Outcome]]] = []
        for budget in wanted or budgets_up_to(_window(asked)):
            request = replace(asked.request(asking), max_context_tokens=budget)
            label = f"{budget} tokens"
            runs.append((budget, ask_all(asked, request, chosen.questions, label=label)))
        try:
            found = sweep(runs, metric_for(runs[0][1]) if metric == "auto" else metric)
        except InvalidRequest as error:
            fail(error.detail, USAGE)
        about = {"set": str(asking.source), **asked.about(asking)}
        if apply:
            _apply(asked, found.chosen)
    if found.trials[0].questions < _FEW:
        warn(f"{found.trials[0].questions} questions are few: one more or less could move the choice")
    if report is not None:
        from rag.evaluation.report import sweep_report  # noqa: PLC0415

        report.write_text(sweep_report(about, found), encoding="utf-8")
    if as_json:
        trials = [trial.as_dict() for trial in found.trials]
        say_json({"metric": found.metric, "rule": found.rule, "chosen": found.chosen, "applied": apply,
                  "trials": trials})  # fmt: skip
    else:
        _show(found, applied=apply, collection=asking.collection)


def _wanted(budgets: str | None) -> tuple[int, ...]:
    if budgets is None:
        return ()
    parts = [part.strip() for part in budgets.split(",") if part.strip()]
    if not parts or not all(part.isdecimal() and int(part) >= LEAST_BUDGET for part in parts):
        fail(f"--budgets {budgets}: write whole numbers of {LEAST_BUDGET} or more, as 1024,2048", USAGE)
    return tuple(sorted({int(part) for part in parts}))


def _window(asked: Session) -> int:
    """Tokens of the model's window that documents can have, beside the longest answer."""
    engine = asked.service.engine.wait()
    return max(engine.context_length - asked.service.settings.max_tokens, LEAST_BUDGET)


def _apply(asked: Session, budget: int) -> None:
    with asked.service.db.session() as database:
        Collections(database, asked.service.scope).set_budget(asked.collection.id, budget)


def _show(found: Sweep, *, applied: bool, collection: str | None) -> None:
    head = f"{'budget':>8}{'n':>6}{found.metric:>9}   {'95 % interval':<18}"
    say(f"{head}{'below best':>11}{'tokens':>8}{'ms':>8}")
    for trial in found.trials:
        mark = "  chosen" if trial.budget == found.chosen else ""
        interval = f"{trial.low:.3f} to {trial.high:.3f}"
        say(
            f"{trial.budget:>8}{trial.questions:>6}{trial.quality:>9.3f}   {interval:<18}"
            f"{trial.below_best:>11.3f}{trial.tokens:>8.0f}{trial.latency:>8.0f}{mark}"
        )
    say()
    say(f"{found.chosen} tokens: {found.rule}.")
    if applied:
        say(f"The collection {collection!r} reads at most that from now on.")
