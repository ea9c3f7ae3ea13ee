"""`longleaf eval compare`: two run files, question by question."""

from __future__ import annotations

from pathlib import Path

from api.terminal import USAGE, fail, one_line, say, say_json, warn
from rag.errors import InvalidRequest
from rag.evaluation.compare import Change, Comparison, Turned, compare
from rag.evaluation.figures import BY_NAME, shown
from rag.evaluation.runfile import read

_SHOWN = 20


def run(first: Path, second: Path, report: Path | None, *, common: bool, as_json: bool) -> None:
    """Compare and print; exits with 2 where that can't be done."""
    try:
        runs = read(first), read(second)
        found = compare(*runs, common=common)
    except InvalidRequest as error:
        fail(error.detail, USAGE)
    if found.left_out:
        warn(f"{found.left_out} questions are in one of the runs alone and were left out")
    if report is not None:
        from rag.evaluation.report import comparison_report  # noqa: PLC0415

        report.write_text(comparison_report(*runs, found), encoding="utf-8")
    if as_json:
        say_json(
            {
                "questions": found.common,
                "left_out": found.left_out,
                "settings": {name: list(values) for name, values in found.settings.items()},
                "changes": [change.as_dict() for change in found.changes],
                "turned": [
                    {"id": each.second.id, "better": each.better, "worse": each.worse}
                    for each in found.turned
                ],
            }
        )
    else:
        _show(found)


def _show(found: Comparison) -> None:
    say(f"{found.common} questions; B - A, with its 95 % interval")
    for name, (one, two) in found.settings.items():
        say(f"  {name}: {one} -> {two}")
    say()
    say(f"{'metric':<12}{'n':>6}{'A':>9}{'B':>9}{'B - A':>9}   {'95 % interval':<20}{'p':>6}")
    for change in found.changes:
        say(_line(change))
    if not found.turned:
        return
    say()
    say(f"{len(found.turned)} questions changed")
    for each in found.turned[:_SHOWN]:
        say(f"  {_turn(each)}")
    if len(found.turned) > _SHOWN:
        say(f"  and {len(found.turned) - _SHOWN} more: --json or --report lists all")


def _line(change: Change) -> str:
    unit = BY_NAME[change.metric].unit
    bounds = f"{_signed(change.low, unit)} to {_signed(change.high, unit)}"
    mark = " *" if change.p < 0.05 else ""
    first, second = shown(change.first, unit), shown(change.second, unit)
    return (
        f"{change.metric:<12}{change.questions:>6}{first:>9}{second:>9}"
        f"{_signed(change.difference, unit):>9}   {bounds:<20}{change.p:>6.3f}{mark}"
    )


def _signed(value: float, unit: str) -> str:
    return f"{value:+.3f}" if unit == "share" else f"{value:+,.0f}"


def _turn(each: Turned) -> str:
    parts = [f"+ {', '.join(each.better)}"] * bool(each.better) + [f"- {', '.join(each.worse)}"] * bool(
        each.worse
    )
    return f"{each.second.id}: {'; '.join(parts)}: {one_line(each.second.question, 80)}"
