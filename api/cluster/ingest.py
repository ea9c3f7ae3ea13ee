"""A bulk ingest: what waits in the store is read on a Ray cluster, round by round, until enough is done.

The desk (`ingest_desk`) has the leases; a round (`ingest_round`) is a Ray Data pipeline of actors. A new
round begins when the cluster has grown, when the old one is used up, or when it stands still.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

from api.cluster.ingest_desk import Desk
from api.cluster.ingest_machines import machines, on_this_machine
from api.cluster.ingest_messages import Figures, Office
from api.cluster.ingest_plan import Machine, Plan, plan
from api.cluster.ingest_round import run_round
from api.version import version
from ingest.keeping.reembed import requeue_refused
from ingest.worker import recover
from rag.errors import Unavailable
from rag.settings import Settings
from rag.store.session import Database

log = logging.getLogger(__name__)

POLL_SECONDS = 0.5
STILL_SECONDS = 60.0
"""A round in which nobody works and nothing moves for so long is given up."""
BEGIN_SECONDS = 900.0
"""So long may it take until the first actor asks for work: a slow disk, many nodes that load a model."""
GROWN_SECONDS = 5.0
"""So long must new nodes have been there before a new round takes them in."""
END_SECONDS = 60.0
"""So long a round may take to its end."""
TRIES = 3
"""Rounds that may break one after the other without anything done."""


class BulkIngest:
    """Reads what waits, until `settled`; one instance is one run."""

    def __init__(self, ray: Any, db: Database, settings: Settings, fingerprint: str) -> None:
        """`ray` is joined to the cluster; `fingerprint` is that of the embedder that every node must have."""
        self._ray = ray
        self._db = db
        self._settings = settings
        self._fingerprint = fingerprint
        self._desk: Any = None
        self._round: Any = None
        self._running: Any = None
        self._plan: Plan | None = None
        self._number = 0
        self._grown_since: float | None = None
        self._broken = 0
        self._moves = self._begun = 0
        self._moved = time.monotonic()
        self.figures = Figures(0, 0, 0, 0, 0, 0, 0)
        """As of the last look."""
        self.nodes = 0

    def run(self, settled: Callable[[], bool], show: Callable[[], None] = lambda: None) -> None:
        """Work until `settled`; `show` is called now and then.

        Raises Unavailable (`cluster_failed`, `cluster_too_small`) when the cluster does not do its part; what
        is done stays, and the same call goes on.
        """
        recover(self._db, self._settings)
        requeue_refused(self._db, self._fingerprint)
        try:
            self._open()
            while not settled():
                self._look()
                show()
        except self._ray.exceptions.RayError as error:
            raise Unavailable(
                f"the cluster did not do its part ({type(error).__name__}); what was read stays, and the "
                "same command goes on",
                code="cluster_failed",
            ) from error
        finally:
            self._close()

    def _open(self) -> None:
        ray = self._ray
        settings = self._settings.model_copy(update={"data_dir": self._settings.data_dir.resolve()})
        self._settings = settings
        here = on_this_machine(ray)
        desk = ray.remote(Desk).options(num_cpus=0, max_concurrency=32, scheduling_strategy=here)
        self._desk = desk.remote(settings, self._fingerprint, 0, _alive)
        ray.get(self._desk.figures.remote())

    def _look(self) -> None:
        ray = self._ray
        self.figures = ray.get(self._desk.figures.remote())
        found = machines(ray)
        self.nodes = len(found)
        if self._running is None:
            self._begin(found)
            return
        ended, _ = ray.wait([self._running], timeout=POLL_SECONDS)
        if ended:
            self._end_round()
        elif self.figures.moves != self._moves or self.figures.busy:
            self._moves, self._moved = self.figures.moves, time.monotonic()
            self._grow(found)
        elif time.monotonic() - self._moved > self._patience and self._waits():
            log.warning("nothing moved for %.0f s: a new round begins", self._patience)
            self._give_up()

    @property
    def _patience(self) -> float:
        return STILL_SECONDS if self.figures.moves > self._begun else BEGIN_SECONDS

    def _waits(self) -> bool:
        from ingest.queue import seconds_until_due  # noqa: PLC0415

        return self.figures.held > 0 or seconds_until_due(self._db) == 0

    def _begin(self, found: list[Machine]) -> None:
        chosen = plan(found, use_gpus=self._settings.device != "cpu")
        if chosen is None:
            raise Unavailable(
                "none of the cluster's nodes has CPUs to give; start them with `--num-cpus`",
                code="cluster_too_small",
            )
        self._number += 1
        self._plan, self._grown_since = chosen, None
        self._begun = self._moves = self.figures.moves
        self._moved = time.monotonic()
        ray = self._ray
        ray.get(self._desk.next_round.remote(self._number, chosen.most))
        maker = ray.remote(_Round).options(num_cpus=0, scheduling_strategy=on_this_machine(ray))
        self._round = maker.remote()
        office = Office(self._desk, self._settings, self._fingerprint, version())
        self._running = self._round.run.remote(office, chosen, self._number)

    def _grow(self, found: list[Machine]) -> None:
        """Have the round come to its end once the cluster has had room for more actors for a while."""
        larger = plan(found, use_gpus=self._settings.device != "cpu")
        if larger is None or self._plan is None or larger.embedders <= self._plan.embedders:
            self._grown_since = None
            return
        now = time.monotonic()
        self._grown_since = self._grown_since or now
        if now - self._grown_since > GROWN_SECONDS:
            self._ray.get(self._desk.next_round.remote(self._number + 1, 0))
            self._ray.wait([self._running], timeout=END_SECONDS)
            self._give_up()

    def _end_round(self) -> None:
        """Take note of how a round ended that ended by itself."""
        try:
            self._ray.get(self._running)
            self._broken = 0
        except self._ray.exceptions.RayError as error:
            self._broken = 0 if self.figures.moves > self._begun else self._broken + 1
            log.warning("a round broke", exc_info=True)
            if self._broken >= TRIES:
                cause = getattr(error, "cause", None) or error
                raise Unavailable(f"the cluster can't work: {cause}", code="cluster_failed") from error
        self._give_up()

    def _give_up(self) -> None:
        """End the round, as far as it got; what is under way is given back."""
        self._ray.kill(self._round)
        self._round = self._running = None
        self._ray.get(self._desk.give_back.remote())

    def _close(self) -> None:
        """Give everything back and end every actor; a cluster that is gone has done so itself."""
        for actor, last_word in ((self._desk, "close"), (self._round, None)):
            if actor is None:
                continue
            try:
                if last_word:
                    self._ray.get(getattr(actor, last_word).remote(), timeout=END_SECONDS)
                self._ray.kill(actor)
            except Exception:
                log.debug("an actor is gone already", exc_info=True)


class _Round:
    """The process of a round."""

    def run(self, *arguments: Any) -> int:
        """As `run_round` says."""
        return run_round(*arguments)


def _alive() -> set[str]:
    """The ids of the nodes there are, as Ray knows them in this process."""
    import ray  # noqa: PLC0415

    return {machine.node for machine in machines(ray)}
