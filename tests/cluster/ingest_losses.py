"""A bulk ingest whose cluster is hurt again and again, and what it promised checked in between.

    python -m tests.cluster.ingest_losses [--losses 25] [--database sqlite] [--nodes 4] [--seed 0]

Losses are nodes whose processes all die at once; some in between kill a single actor's process, the command
itself, or the whole cluster with its head. The same command is given again whenever it has ended. A loss
counts only where documents were under way, and that of a node only where it had actors of the pipeline.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil

from rag.embedders import load_embedder
from tests.cluster.bulk_house import BulkHouse
from tests.cluster.ray_nodes import QUICK, Nodes
from tests.faults.checks import Violation
from tests.faults.stores import PostgresStore, SqliteStore

PATIENCE = 300.0
SIZES = (1, 15)
"""Paragraphs of a document, each a chunk or two."""
CHECK_EVERY = 6


class Losses:
    """The cluster, the house and who strikes them."""

    def __init__(self, house: BulkHouse, nodes: int, seed: int) -> None:
        self.house = house
        self.count = nodes
        self.rng = random.Random(seed)
        self.nodes = self._cluster()
        self.driver: subprocess.Popen[bytes] | None = None
        self.struck: Counter[str] = Counter()
        self.under_way = 0

    def _cluster(self) -> Nodes:
        return Nodes(self.count, joined=False, cpus=1, _system_config=QUICK)

    def strike(self, kind: str) -> bool:
        """Let documents be under way, then lose something; False where it hit nothing."""
        self._until(self._works)
        time.sleep(self.rng.uniform(0, 3))
        running = self.house.jobs().get("running", 0)
        if not running:
            return False
        if kind == "node":
            node = max(self.nodes.workers, key=lambda each: len(self.nodes.actors(each)))
            hit = self.nodes.cut_off(node) > 0
            self.nodes.workers.append(self.nodes.add())
        elif kind == "actor":
            able = [actor for node in self.nodes.workers for actor in self.nodes.actors(node)]
            hit = bool(able)
            with suppress(psutil.NoSuchProcess):
                if able:
                    self.rng.choice(able).kill()
        elif kind == "driver":
            hit = self.driver is not None and self.driver.poll() is None
            if self.driver is not None:
                self.house.kill(self.driver)
        else:
            hit = True
            for node in [self.nodes.cluster.head_node, *self.nodes.workers]:
                for process in self.nodes.processes(node):
                    with suppress(psutil.NoSuchProcess):
                        process.kill()
            self.nodes.close()
            self.nodes = self._cluster()
        if hit:
            self.struck[kind] += 1
            self.under_way += running
        return hit

    def _works(self) -> bool:
        """Whether vectors are being made; the command is given again where it has ended."""
        jobs = self.house.jobs()
        if self.driver is None or self.driver.poll() is not None:
            if not jobs.get("queued") and not jobs.get("running"):
                self.house.write(30, SIZES)
            self.driver = self.house.start(self.nodes.address)
        actors = any(self.nodes.actors(node) for node in self.nodes.workers)
        return actors and jobs.get("running", 0) > 0

    def settle(self) -> None:
        """Give the command until it has ended well. Raises Violation."""

        def ended() -> bool:
            if self.driver is None:
                self.driver = self.house.start(self.nodes.address)
            code = self.driver.poll()
            if code is None:
                return False
            self.driver = None
            jobs = self.house.jobs()
            return code == 0 and not jobs.get("queued") and not jobs.get("running")

        self._until(ended)

    def _until(self, condition: Callable[[], bool]) -> None:
        """Wait as long as anything moves."""
        seen, deadline = self.house.jobs(), time.monotonic() + PATIENCE
        while not condition():
            if (now := self.house.jobs()) != seen:
                seen, deadline = now, time.monotonic() + PATIENCE
            if time.monotonic() > deadline:
                raise Violation(f"nothing moves for {PATIENCE:.0f} s: {seen}")
            time.sleep(0.2)

    def close(self) -> None:
        """End what runs."""
        if self.driver is not None and self.driver.poll() is None:
            self.house.kill(self.driver)
        self.nodes.close()


def kinds(losses: int) -> list[str]:
    """What is lost, in which order: nodes two times in three."""
    others = ["actor", "driver", "actor", "driver", "head"]
    return [others[(number // 3) % len(others)] if number % 3 == 2 else "node" for number in range(losses)]


def main() -> None:
    """Hurt it as often as asked, and say what was lost and what held."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--losses", type=int, default=25)
    parser.add_argument("--database", choices=("sqlite", "postgresql"), default="sqlite")
    parser.add_argument("--nodes", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="longleaf-losses-") as name:
        folder = Path(name)
        (folder / "data").mkdir()
        store = SqliteStore(folder / "data") if options.database == "sqlite" else PostgresStore(bent=False)
        house = BulkHouse(folder, store.url, options.seed)
        embedder = load_embedder(house.settings)
        house.write(60, SIZES)
        losses = Losses(house, options.nodes, options.seed)
        documents = 0
        try:
            for number, kind in enumerate(kinds(options.losses), 1):
                while not losses.strike(kind):
                    pass
                print(f"{time.monotonic() - began:6.0f} s  loss {number}: {kind}, {house.jobs()}", flush=True)
                if number % CHECK_EVERY == 0 or number == options.losses:
                    losses.settle()
                    documents = house.check(embedder)
                    print(f"{time.monotonic() - began:6.0f} s  {documents} documents: all holds", flush=True)
        except BaseException:
            print(house.log.read_text(errors="replace")[-4000:])
            raise
        finally:
            losses.close()
            store.close()
    struck = ", ".join(f"{count} of {kind}" for kind, count in losses.struck.items())
    print(
        f"\n{sum(losses.struck.values())} losses ({struck}) with {losses.under_way} documents under way, "
        f"{documents} documents, {options.nodes} nodes, {options.database}: 0 promises broken, "
        f"{time.monotonic() - began:.0f} s"
    )


if __name__ == "__main__":
    main()
