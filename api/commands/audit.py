"""`longleaf audit`: who did what, written out, and checked against itself."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import IO

from pydantic import ValidationError

from api import schemas, serialize
from api.commands.session import opened
from api.terminal import FAILURE, say, say_json, warn
from rag.errors import InvalidRequest
from rag.settings import Settings
from rag.store.migrate import check
from rag.store.repositories import Workspaces
from rag.store.repositories.audit import GENESIS, SERVICE, AuditBroken, AuditLog, ChainCheck
from rag.store.scope import Scope

_HASH_LENGTH = 64
Ends = dict[str, tuple[int, str]]
"""Number and hash of the last entry of each workspace."""


def run_export(settings: Settings, target: Path | None, workspace: str | None, after: int) -> None:
    """Write entries as JSON lines, to stdout without a file; say where the logs end.

    Raises NotFound, Unmigrated, Unavailable, OSError.
    """
    count, ends = 0, Ends()
    with opened(settings) as db:
        check(db)
        with db.read() as session, _writing(target) as out:
            chosen = AuditLog.chains(session)
            if workspace is not None:
                chosen = [workspace if workspace == SERVICE else Workspaces(session).get(workspace).id]
            for each in chosen:
                log = AuditLog(session, Scope(each))
                for row in log.entries(after):
                    out.write(serialize.audit_entry(row).model_dump_json() + "\n")
                    count += 1
                ends[each] = log.head()
    warn(f"{count} entries; longleaf audit verify can hold these against the log later:")
    for anchor in _anchors(ends):
        warn(f"--known {anchor}")


def run_verify(settings: Settings, source: Path | None, known: Sequence[str], *, as_json: bool) -> None:
    """Check all chains, of the store or of a file; exits with 1 when one is broken.

    Raises InvalidRequest, Unmigrated, Unavailable, OSError.
    """
    anchors = _parsed(known)
    problems: list[str] = []
    ends = _of_store(settings, anchors, problems) if source is None else _of_file(source, anchors, problems)
    if as_json:
        say_json({"ends": _anchors(ends), "problems": problems})
    elif problems:
        for problem in problems:
            say(problem)
    else:
        say(f"{sum(seq for seq, _ in ends.values())} entries, each as it was written")
        for anchor in _anchors(ends):
            say(f"--known {anchor}")
    if problems:
        raise SystemExit(FAILURE)


def _of_store(settings: Settings, known: Mapping[str, Ends], problems: list[str]) -> Ends:
    ends = Ends()
    with opened(settings) as db:
        check(db)
        with db.read() as session:
            for each in sorted({*AuditLog.chains(session), *known}):
                log = AuditLog(session, Scope(each))
                ends[each] = log.head()
                try:
                    log.verify()
                    for anchor in known.get(each, {}).values():
                        log.verify(anchor)
                except AuditBroken as broken:
                    problems.append(broken.detail)
    return ends


def _of_file(source: Path, known: Mapping[str, Ends], problems: list[str]) -> Ends:
    """Each chain from the first entry that the file has of it; what was cut off its end can't be seen."""
    chains: dict[str, ChainCheck] = {}
    left = {(each, *anchor) for each, anchors in known.items() for anchor in anchors.values()}
    with source.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            try:
                row = serialize.audit_row(schemas.AuditEntry.model_validate_json(line))
                if row.workspace_id not in chains:
                    begin = row.seq - 1
                    before = GENESIS if begin == 0 else row.previous
                    chains[row.workspace_id] = ChainCheck(row.workspace_id, begin, before)
                chains[row.workspace_id].follow(row)
                left.discard((row.workspace_id, row.seq, row.hash))
            except ValidationError:
                problems.append(f"line {number} is no entry of an audit log")
                break
            except AuditBroken as broken:
                problems.append(f"line {number}: {broken.detail}")
                break
    problems += [f"entry {seq} of {each} as it was known is not there" for each, seq, _ in sorted(left)]
    return {each: (chain.seq, chain.hash) for each, chain in chains.items()}


def _parsed(known: Sequence[str]) -> dict[str, Ends]:
    found: dict[str, Ends] = {}
    for text in known:
        workspace, _, rest = text.partition(":")
        number, _, digest = rest.partition(":")
        if not workspace or not number.isdecimal() or len(digest) != _HASH_LENGTH:
            raise InvalidRequest(
                f"{text[:120]!r} is not of the form WORKSPACE:NUMBER:HASH that export and verify print"
            )
        found.setdefault(workspace, {})[text] = (int(number), digest)
    return found


def _anchors(ends: Ends) -> list[str]:
    return [f"{each}:{seq}:{digest}" for each, (seq, digest) in sorted(ends.items())]


@contextmanager
def _writing(target: Path | None) -> Iterator[IO[str]]:
    with nullcontext(sys.stdout) if target is None else target.open("x", encoding="utf-8") as out:
        yield out
