"""`python -m tests.faults.day --hours 24`: a day of random faults on a simulated clock.

Documents come, change and go; workers die, hang, run into a full disk or a database that is gone; the clock
jumps; everything is started anew. In quiet times nothing may be in work for longer than `PATIENCE`, whatever
happened before: what is, counts as stuck.
"""

from __future__ import annotations

import argparse
import logging
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from ingest.jobs import WAIT_SECONDS
from ingest.leases import LEASE_SECONDS, Lease
from rag.errors import LongleafError, Unavailable
from rag.store.migrate import upgrade
from rag.store.records import DocumentRow
from rag.store.session import Database
from tests.faults.inside import READING_STEPS, STEPS, Crash, Inside, full_disk, prepared, striking
from tests.faults.stores import PostgresStore

PATIENCE = max(WAIT_SECONDS) + 2 * LEASE_SECONDS
"""Seconds within which all work is done once the faults stop: the longest wait, and a lease of a dead worker
that must run out."""
QUIET_EVERY = 3600.0
MOST = 12
OPEN = {"queued", "parsing", "chunking", "embedding"}
FORGIVEN = {"poison_document", "internal"}
"""How a document may end whose reading was broken off again and again."""


def gone() -> BaseException:
    """What a database that is gone raises."""
    return Unavailable("the database did not do its part (gone)", code="database_unavailable")


@dataclass
class Day:
    """The simulation and what it counts."""

    inside: Inside
    rng: random.Random
    faults: Counter[str] = field(default_factory=Counter)
    stuck: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    documents: int = 0
    set_aside: int = 0
    workers: int = 0
    hung: list[Lease] = field(default_factory=list)

    def go(self, hours: float) -> None:
        """Let so many hours go by; `elapsed` counts them, the clock may jump."""
        elapsed, quiet = 0.0, QUIET_EVERY
        while elapsed < hours * 3600:
            self._one()
            step = self.rng.expovariate(1 / 60)
            self.inside.wait(step)
            elapsed += step
            if elapsed > quiet:
                elapsed += self._be_quiet()
                quiet = elapsed + QUIET_EVERY
        self._be_quiet()

    def _one(self) -> None:
        for act, weight in (
            (self._send, 0.6),
            (self._update, 0.3),
            (self._delete, 0.2),
            (self._cancel, 0.1),
            (self._retry, 0.1),
        ):
            if self.rng.random() < weight:
                with suppress(LongleafError, OSError):
                    act()
        for _ in range(self.rng.randint(0, 3)):
            self._work()
        if self.rng.random() < 0.05:
            self.faults["restart"] += 1
            self._restart()
        if self.rng.random() < 0.03:
            self.faults["clock jump"] += 1
            self.inside.wait(self.rng.choice([-1, 1]) * self.rng.choice([5, 120, 900, 86_400]))

    def _content(self) -> bytes:
        self.documents += 1
        word = f"note{self.documents}"
        paragraphs = self.rng.choice([1, 1, 2, 5, 12])
        return "\n\n".join(
            f"Part {n} of {word} " + "tells of rain. " * 12 for n in range(paragraphs)
        ).encode()

    def _strike(self, group: str) -> str | None:
        """A step of a server's action that is struck now and then."""
        if self.rng.random() > 0.15:
            return None
        self.faults[f"server dies: {group}"] += 1
        return self.rng.choice([step for step in STEPS if step.startswith(f"{group}.")])

    def _with(self, group: str, act: Callable[[], object]) -> bool:
        try:
            with striking(self._strike(group)):
                act()
        except Crash:
            self._restart()
            return False
        return True

    def _send(self) -> None:
        if len(self.inside.documents()) < MOST:
            content = self._content()
            self._with("upload", lambda: self.inside.upload(content))

    def _any(self) -> str | None:
        return self.rng.choice(sorted(self.inside.documents()) or [""]) or None

    def _update(self) -> None:
        if document_id := self._any():
            content = self._content()
            self._with("update", lambda: self.inside.replace(document_id, content))

    def _delete(self) -> None:
        if document_id := self._any():
            self._with("delete", lambda: self.inside.delete(document_id))

    def _cancel(self) -> None:
        if document_id := self._any():
            self.inside.cancel(document_id)

    def _retry(self) -> None:
        if document_id := self._any():
            self.inside.retry(document_id)

    def _restart(self) -> None:
        try:
            self.inside.restart()
        except LongleafError as error:
            self.wrong.append(f"a start failed: {error}")

    def _work(self) -> None:
        """One worker takes a job, or one that hung goes on with what it took long ago."""
        if self.hung and self.rng.random() < 0.3:
            lease: Lease | None = self.hung.pop(self.rng.randrange(len(self.hung)))
        else:
            self.workers += 1
            lease = self.inside.take(f"wrk_{self.workers}")
        if lease is None:
            return
        fate = self.rng.choices(["well", "dies", "hangs", "full disk", "no database"], (6, 3, 1, 1, 1))[0]
        if fate != "well":
            self.faults[f"worker {fate}" if fate in {"dies", "hangs"} else fate] += 1
        if fate == "hangs":
            self.hung.append(lease)
            return
        step = self.rng.choice(READING_STEPS) if fate != "well" else None
        error = {"full disk": full_disk, "no database": gone}.get(fate, Crash)
        try:
            self.inside.run(lease, step, error)
        except Crash:
            if self.rng.random() < 0.5:  # else nobody is there to see that it is dead: its lease runs out
                self.inside.bury(lease.token.partition(":")[0])
        except Unavailable:  # neither could be told: the lease runs out
            pass

    def _be_quiet(self) -> float:
        """No faults for a while: everything that is open must end. Gives the seconds that it took."""
        began, retried = self.inside.time, False
        self._restart()
        while True:
            while (lease := self.inside.take("wrk_quiet")) is not None:
                self.inside.run(lease)
            rows = self.inside.documents()
            ended = [row for row in rows.values() if _newest(row)[0] in {"failed", "cancelled"}]
            if not any(_newest(row)[0] in OPEN for row in rows.values()) and (retried or not ended):
                break
            if not retried:
                retried = True
                for row in ended:
                    status, code = _newest(row)
                    self.set_aside += status == "failed"
                    if status == "failed" and code not in FORGIVEN:
                        self.wrong.append(f"{row.id} failed with {code}")
                    self.inside.retry(row.id)
            if (self.inside.time - began).total_seconds() > PATIENCE:
                self.stuck += [
                    f"{row.id}: {_newest(row)}" for row in rows.values() if _newest(row)[0] in OPEN
                ]
                break
            self.inside.wait(1)
        self._check()
        return (self.inside.time - began).total_seconds()

    def _check(self) -> None:
        rows = self.inside.documents()
        for row in rows.values():
            if _newest(row)[0] != "ready":
                self.wrong.append(f"{row.id} is {_newest(row)} after a quiet time")
        if self.inside.indexed() != {key: row.generation for key, row in rows.items() if row.generation}:
            self.wrong.append("a search would answer with what is not there, or miss what is")
        self.wrong += [f"left over: {name}" for name in self.inside.garbage()]


def _newest(row: DocumentRow) -> tuple[str, str | None]:
    newest = row.updating or row
    return newest.status, newest.error_code


def simulate(url: str, folder: Path, hours: float, seed: int) -> Day:
    """Let a day go by on an empty store."""
    with prepared():
        inside = Inside(url, folder)
        day = Day(inside, random.Random(seed))
        day.go(hours)
        inside.close()
    return day


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.day", description=__doc__)
    parser.add_argument("--database", choices=("sqlite", "postgresql"), default="sqlite")
    parser.add_argument("--hours", type=float, default=24.0)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    logging.disable(logging.WARNING)  # of what is done on purpose
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="longleaf-day-") as base:
        store = PostgresStore(bent=False) if options.database == "postgresql" else None
        url = store.url if store else f"sqlite:///{Path(base) / 'longleaf.db'}"
        database = Database(url)
        upgrade(database)
        database.dispose()
        day = simulate(url, Path(base), options.hours, options.seed)
        if store:
            store.close()
    for name, count in sorted(day.faults.items()):
        sys.stdout.write(f"{count:5}  {name}\n")
    for line in [*day.stuck, *day.wrong]:
        sys.stdout.write(f"VIOLATION {line}\n")
    sys.stdout.write(
        f"{options.hours:g} simulated hours on {options.database} (seed {options.seed}) in "
        f"{time.monotonic() - began:.0f} s: {day.faults.total()} faults, {day.documents} files, "
        f"{day.set_aside} set aside and retried; stuck: {len(day.stuck)}; "
        f"other violations: {len(day.wrong)}\n"
    )
    return 1 if day.stuck or day.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
