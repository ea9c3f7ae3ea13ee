"""`longleaf eval run`: questions with known answers, asked one after the other, and what came of them."""

from __future__ import annotations

import hashlib
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from api.commands.eval_session import Asking, Session, choose, session
from api.terminal import FAILURE, USAGE, fail, one_line, say, say_json, warn
from rag.answer import AnswerRequest
from rag.evaluation.figures import BY_NAME, Figure, shown
from rag.evaluation.outcome import Outcome
from rag.evaluation.questions import GoldQuestion
from rag.evaluation.runfile import Journal, Run, RunFileError, digest, write
from rag.settings import Settings

__all__ = ["Asking", "ask_all", "progress", "run", "show_figures"]


def run(  # noqa: PLR0917 (called by one program alone)
    settings: Settings,
    asking: Asking,
    out: Path | None,
    report: Path | None,
    fail_under: Sequence[str],
    fail_over: Sequence[str],
    *,
    as_json: bool,
) -> None:
    """Measure, print, write; exits with 1 when a bound is not held, with 2 for input that can't be taken."""
    bounds = [*_bounds(fail_under, higher=True), *_bounds(fail_over, higher=False)]
    chosen = choose(asking)
    for path in (out, report):
        if path is not None and not path.absolute().parent.is_dir():
            fail(f"{path}: there is no folder {path.absolute().parent}", USAGE)
    proposals = sum(not question.accepted for question in chosen.questions)
    if proposals:
        warn(f"{proposals} of the {len(chosen.questions)} questions are proposals that nobody has accepted")
    with session(settings, asking.collection, chosen.folders) as asked:
        about = {
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "set": str(asking.source),
            "set_digest": digest(chosen.questions),
            **asked.about(asking),
        }
        key = hashlib.sha256(
            repr([about[name] for name in sorted(about) if name not in ("created", "set")]).encode()
        ).hexdigest()
        try:
            journal = None if out is None else Journal(out, key)
        except RunFileError as error:
            fail(error.detail, USAGE)
        outcomes = ask_all(asked, asked.request(asking), chosen.questions, journal)
    measured = Run.of(about, outcomes)
    if out is not None:
        write(out, measured)
    if journal is not None:
        journal.close(finished=True)
    if report is not None:
        from rag.evaluation.report import run_report  # noqa: PLC0415

        report.write_text(run_report(measured), encoding="utf-8")
    if as_json:
        say_json(measured.as_dict())
    else:
        _show(measured)
    _hold(measured.figures, bounds)


def ask_all(
    asked: Session,
    request: AnswerRequest,
    questions: Sequence[GoldQuestion],
    journal: Journal | None = None,
    label: str = "questions",
) -> list[Outcome]:
    """Ask every question that the journal does not have yet; what is interrupted stays in the journal."""
    done = {} if journal is None else dict(journal.done)
    left = [question for question in questions if question.id not in done]
    if done:
        warn(f"{len(done)} of {len(questions)} questions were answered before; going on")
    cancel = threading.Event()
    try:
        measurer = asked.measurer(request) if left else None
        with progress(label, len(questions), len(done)) as step:
            for question in left:
                assert measurer is not None  # noqa: S101 (there is one where questions are left)
                outcome = measurer.measure(question, cancel)
                done[question.id] = outcome
                if journal is not None:
                    journal.add(outcome)
                step()
    except BaseException:
        cancel.set()
        if journal is not None:
            journal.close(finished=False)
            warn(
                f"{len(journal.done)} answers are kept in {journal.path}; the same command goes on from there"
            )
        raise
    return [done[question.id] for question in questions]


class Step(Protocol):
    def __call__(self) -> None: ...


@contextmanager
def progress(label: str, total: int, done: int) -> Iterator[Step]:
    """A bar on a terminal; elsewhere a line for every tenth part."""
    if sys.stderr.isatty():
        from rich.console import Console  # noqa: PLC0415
        from rich.progress import (  # noqa: PLC0415
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
        )

        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task(label, total=total, completed=done)
            yield lambda: bar.advance(task)
        return
    at = done

    def step() -> None:
        nonlocal at
        at += 1
        if at * 10 // total > (at - 1) * 10 // total:
            warn(f"{label}: {at} of {total}")

    yield step


def _bounds(given: Sequence[str], *, higher: bool) -> list[tuple[str, float, bool]]:
    option, other = ("--fail-under", "--fail-over") if higher else ("--fail-over", "--fail-under")
    found = []
    for text in given:
        name, _, number = text.partition("=")
        if name not in BY_NAME:
            fail(f"{option} {text}: there is no metric {name!r}; there are: {', '.join(BY_NAME)}", USAGE)
        if BY_NAME[name].higher is not higher:
            better = "more" if BY_NAME[name].higher else "less"
            fail(f"{option} {text}: of {name}, {better} is better; use {other}", USAGE)
        try:
            found.append((name, float(number), higher))
        except ValueError:
            fail(f"{option} {text}: {number!r} is no number; write for example {name}=0.9", USAGE)
    return found


def _hold(found: Sequence[Figure], bounds: Sequence[tuple[str, float, bool]]) -> None:
    known = {figure.metric: figure.value for figure in found}
    broken = False
    for name, bound, higher in bounds:
        if name not in known:
            warn(f"{name}: no question of the set says anything of it, so it can't be held")
        elif higher and known[name] < bound:
            warn(f"{name} is {known[name]:.4g}, under {bound:g}")
        elif not higher and known[name] > bound:
            warn(f"{name} is {known[name]:.4g}, over {bound:g}")
        else:
            continue
        broken = True
    if broken:
        raise SystemExit(FAILURE)


def _show(measured: Run) -> None:
    about, outcomes = measured.about, measured.outcomes
    documents = about["documents"]["count"]
    say(f"{len(outcomes)} questions, {documents} documents, {about['model']}, {about['embedder']}")
    show_figures(measured.figures)
    unlocated = [each for each in outcomes if each.missing]
    if unlocated:
        say()
        say(f"{len(unlocated)} questions name evidence that the documents do not hold, for example")
        say(f"  {unlocated[0].id}: {one_line(unlocated[0].missing[0], 200)}")
    errors = [each for each in outcomes if each.error]
    if errors:
        say()
        say(f"{len(errors)} questions ended in an error, for example")
        say(f"  {errors[0].id}: {one_line(errors[0].error or '', 200)}")


def show_figures(found: Sequence[Figure]) -> None:
    """Print figures, one a line, with the interval of 95 %."""
    say()
    say(f"{'metric':<12}{'n':>6}{'value':>9}   {'95 % interval':<18}meaning")
    for figure in found:
        metric = BY_NAME[figure.metric]
        bounds = f"{shown(figure.low, metric.unit)} to {shown(figure.high, metric.unit)}"
        unit = "" if metric.unit == "share" else f" ({metric.unit})"
        value = shown(figure.value, metric.unit)
        say(f"{figure.metric:<12}{figure.questions:>6}{value:>9}   {bounds:<18}{metric.meaning}{unit}")
