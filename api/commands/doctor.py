"""`longleaf doctor`: what usually goes wrong, looked for here, with the remedy."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from api.doctor.examining import examine
from api.doctor.finding import Case
from api.terminal import FAILURE, say, say_json
from rag.settings import Settings

_MARKS = {"ok": "ok", "warning": "WARNING", "failure": "FAILURE", "skipped": "-"}


def run(settings: Settings, *, backup: Path | None, as_json: bool) -> None:
    """Print what each check found; exits with 1 when one is a failure. The store is left as it is."""
    case = Case(settings, backup)
    counts: Counter[str] = Counter()
    told = []
    try:
        for name, found in examine(case):
            counts[found.verdict] += 1
            told.append(found.as_dict(name))
            if not as_json:
                say(f"{_MARKS[found.verdict]:8} {name:17} {found.found}")
                if found.remedy:
                    say(f"{'':26} → {found.remedy}")
    finally:
        case.close()
    if as_json:
        say_json({"checks": told, "counts": dict(counts)})
    else:
        said = ", ".join(f"{counts[verdict]} {verdict}" for verdict in _MARKS if counts[verdict])
        say(f"{sum(counts.values())} checks: {said}")
    if counts["failure"]:
        raise SystemExit(FAILURE)
