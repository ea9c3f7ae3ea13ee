"""`longleaf gc`: what nothing leads to any more goes."""

from __future__ import annotations

from dataclasses import asdict
from datetime import timedelta

from api.commands.session import opened
from api.terminal import human_bytes, say, say_json
from ingest.keeping.gc import collect
from rag.settings import Settings


def run(settings: Settings, *, dry_run: bool, answers_older_than: int | None, as_json: bool) -> None:
    """Clear up and say what went. Raises Unmigrated, Unavailable."""
    age = None if answers_older_than is None else timedelta(days=answers_older_than)
    with opened(settings) as db:
        found = collect(db, settings, dry_run=dry_run, answers_older_than=age)
    freed = sum(garbage.bytes for garbage in found)
    if as_json:
        say_json({"dry_run": dry_run, "bytes": freed, "found": [asdict(garbage) for garbage in found]})
        return
    for garbage in found:
        rows = f"{garbage.count} rows of " if garbage.kind in {"rows", "answers"} else ""
        say(f"{garbage.kind:9} {rows}{garbage.name}")
    told = "would be freed" if dry_run else "freed"
    say(f"{len(found)} things, {human_bytes(freed)} {told}" if found else "There is nothing to clear up.")
