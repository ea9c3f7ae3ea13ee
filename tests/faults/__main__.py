"""`python -m tests.faults --database sqlite|postgresql --faults N --seed S`: hurt a running installation, and
see whether it keeps its promises: nothing acknowledged is lost, nothing deleted returns, nothing is stuck,
every search answer exists."""

from __future__ import annotations

import argparse
import random
import signal
import sys
import time
from collections import Counter
from pathlib import Path

from rag.store.session import Database
from tests.faults.checks import check_all, check_files
from tests.faults.house import House
from tests.faults.kinds import Kind, World, kinds
from tests.faults.record import Record
from tests.faults.traffic import Traffic


class Run:
    """So many faults against one installation after the other; a new one after each violation."""

    def __init__(self, database: str, seed: int, log: Path | None = None) -> None:
        self._database = database
        self._rng = random.Random(seed)
        self._log = log
        self.struck: Counter[str] = Counter()
        self.missed: Counter[str] = Counter()
        self.violations: list[str] = []
        self.set_aside = 0
        self.documents = 0

    def go(self, faults: int, seconds: float | None = None, only: str = "") -> None:
        """Strike until so many faults have struck, or the time is over."""
        deadline = None if seconds is None else time.monotonic() + seconds
        while self._left(faults, deadline):
            with House(self._database) as house:
                self._live(house, faults, deadline, only)

    def _left(self, faults: int, deadline: float | None) -> bool:
        return self.struck.total() < faults and (deadline is None or time.monotonic() < deadline)

    def _live(self, house: House, faults: int, deadline: float | None, only: str) -> None:
        record = Record(self._rng)
        world = World(house, record, Traffic(house, record, self._rng), self._rng)
        choices = [kind for kind in kinds(house) if only in kind.name]
        db = Database(house.store.url)
        house.start("server-a", "server")
        house.start("worker-a", "worker")
        world.traffic.some(3)
        try:
            while self._left(faults, deadline):
                kind = self._rng.choices(choices, [kind.weight for kind in choices])[0]
                if not self._one(world, kind, db):
                    return
        finally:
            self.set_aside += record.set_aside
            self.documents += len(record.kept) + len(record.deleted)
            db.dispose()

    def _one(self, world: World, kind: Kind, db: Database) -> bool:
        began = time.monotonic()
        house, record = world.house, world.record
        try:
            struck = kind.strike(world)
            hurt = time.monotonic()
            started = house.heal()
            healed = time.monotonic()
            check_all(house, record, db)
            for name in [name for name in house.processes if name.endswith("-b")]:
                house.remove(name)
            if "worker-a" in started:
                check_files(house, db)
        except Exception as error:
            self.struck[kind.name] += 1
            self.violations.append(f"{kind.name}: {type(error).__name__}: {error}")
            sys.stdout.write(f"VIOLATION after {self.struck.total()} faults: {self.violations[-1]}\n")
            if self._log is not None:
                self._log.mkdir(parents=True, exist_ok=True)
                log = self._log / f"violation-{len(self.violations)}.log"
                log.write_bytes((house.control / "log").read_bytes())
                sys.stdout.write(f"  the processes' log is in {log}\n")
            sys.stdout.flush()
            return False
        (self.struck if struck else self.missed)[kind.name] += 1
        if self._log is not None:
            seconds = f"{hurt - began:5.1f} {healed - hurt:5.1f} {time.monotonic() - healed:5.1f}"
            missed = "" if struck else " (not reached)"
            sys.stdout.write(f"{self.struck.total():4}  {seconds}  {kind.name}{missed}\n")
            sys.stdout.flush()
        return True


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--database", choices=("sqlite", "postgresql"), default="sqlite")
    parser.add_argument("--faults", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=float, help="stop after so long")
    parser.add_argument("--only", default="", help="faults whose kind has this in its name")
    parser.add_argument(
        "--log", type=Path, help="say every fault, and keep logs of violations in this folder"
    )
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(2))  # whoever ends it finds no mounts and servers left
    began = time.monotonic()
    run = Run(options.database, options.seed, options.log)
    run.go(options.faults, options.seconds, options.only)
    for name, count in sorted(run.struck.items()):
        sys.stdout.write(f"{count:5}  {name}\n")
    sys.stdout.write(
        f"{run.struck.total()} faults on {options.database} (seed {options.seed}) in "
        f"{time.monotonic() - began:.0f} s, {run.documents} documents, "
        f"{run.set_aside} set aside and retried; {run.missed.total()} plans not reached; "
        f"violations: {len(run.violations)}\n"
    )
    return 1 if run.violations else 0


if __name__ == "__main__":
    sys.exit(main())
