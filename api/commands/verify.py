"""`longleaf verify`: what is wrong with the store, and with `--repair` what could be put right."""

from __future__ import annotations

from pathlib import Path

from api.commands.session import opened
from api.loaders import load_embedder
from api.terminal import FAILURE, progress, say, say_json
from ingest.keeping.findings import Problem
from ingest.keeping.verify import Checked, verify, verify_backup
from rag.settings import Settings


def run(settings: Settings, *, repair: bool, backup: Path | None, as_json: bool) -> None:
    """Check and say what was found; exits with 1 when something is, or stays, wrong.

    Raises Unmigrated, Unavailable, BackupDamaged.
    """
    cured: list[Problem] = []
    queued: list[str] = []
    if backup is not None:
        checked = verify_backup(backup)
    else:
        with opened(settings) as db:
            with progress("documents") as tell:
                checked = verify(db, settings, on_progress=tell)
            if repair and checked.problems:
                from ingest.keeping.repair import repair as put_right  # noqa: PLC0415

                done = put_right(db, settings, checked.problems, lambda: load_embedder(settings))
                cured, checked.problems, queued = done.cured, done.left, done.queued
    _show(checked, cured, queued, as_json=as_json)
    if checked.problems:
        raise SystemExit(FAILURE)


def _show(checked: Checked, cured: list[Problem], queued: list[str], *, as_json: bool) -> None:
    if as_json:
        say_json(
            {
                "documents": checked.documents,
                "files": checked.files,
                "problems": [problem.as_dict() for problem in checked.problems],
                "repaired": [problem.as_dict() for problem in cured],
                "queued": queued,
            }
        )
        return
    for problem in cured:
        say(f"repaired  {problem.code} {problem.subject}: {problem.detail}")
    for problem in checked.problems:
        say(f"{problem.code} {problem.subject}: {problem.detail}{_remedy(problem)}")
    if queued:
        say(f"{len(queued)} documents are queued to be read again, by the server or the next ingest")
    wrong = f"{len(checked.problems)} problems" if checked.problems else "nothing is wrong"
    say(f"{checked.documents} documents and {checked.files} files checked: {wrong}")


def _remedy(problem: Problem) -> str:
    if problem.cure:
        return " (longleaf verify --repair)"
    if problem.code.startswith("file_"):
        return " (upload the file again, or take it from a backup)"
    return ""
