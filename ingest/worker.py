"""Threads that take jobs one after the other, keep their leases alive, and stop without harm."""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from ingest import jobs
from ingest.bell import hear
from ingest.keeping.gc_shared import clear_shared
from ingest.keeping.leftovers import clear_leftovers
from ingest.keeping.reembed import requeue_refused
from ingest.leases import LEASE_SECONDS, Lease, is_held, renew
from ingest.locks import remove_if_dead
from ingest.originals.choice import originals_of
from ingest.outcomes import Outcome
from ingest.pipeline import Pipeline, Step
from ingest.presence import Presence, known_dead, workers_folder
from ingest.queue import OLDEST_EVERY, Turn, has_suspect, is_outranked, seconds_until_due
from ingest.turns import Turns
from rag.embedders.base import Embedder
from rag.errors import Unavailable
from rag.settings import Settings
from rag.store.session import Database

log = logging.getLogger(__name__)

POLL_SECONDS = 1.0
"""How soon a job is noticed that another process queued, and a lease that was lost."""
QUANTUM_SECONDS = 10.0
"""How long a job may go on at least before it makes way for a smaller one."""
TROUBLE_SECONDS = 5.0
"""Wait after the store could not be reached."""

OnPublished = Callable[[str, str], None]
"""Called with (collection_id, document_id) after a document became ready."""


class Worker:
    """`settings.ingest_workers` threads over one store; other processes may run workers on it too."""

    def __init__(
        self,
        db: Database,
        settings: Settings,
        embedder: Embedder,
        on_published: OnPublished | None = None,
        *,
        lease_seconds: float = LEASE_SECONDS,
        on_step: Callable[[Step], None] = lambda step: None,  # noqa: ARG005
        on_outcome: Callable[[Outcome], None] = lambda outcome: None,  # noqa: ARG005
    ) -> None:
        """`on_step` and `on_outcome` are called in the thread that does the job."""
        self._db = db
        self._settings = settings
        self._fingerprint = embedder.fingerprint
        self._pipeline = Pipeline(db, settings, embedder, on_step)
        self._on_published = on_published
        self._on_outcome = on_outcome
        self._lease_seconds = lease_seconds
        self._stopping = threading.Event()
        self._wake = threading.Event()
        hear(db.engine.url, self._wake)
        self._unrecovered = threading.Event()
        self._recovery = threading.Lock()
        self._turns = Turns()
        self._count = itertools.count(1)
        self._held_still: list[Lease] = []
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Clear up after dead processes and start the threads, which do it later if it can't be done yet."""
        if self._threads:
            raise RuntimeError("the worker is running already")
        self._stopping.clear()
        self._unrecovered.set()
        try:
            self._recover_once()
        except (Unavailable, OSError):
            log.warning("what crashes left can't be cleared up yet", exc_info=True)
        self._threads = [
            threading.Thread(target=self._loop, name=f"ingest-{number}", daemon=True)
            for number in range(self._settings.ingest_workers)
        ]
        for thread in self._threads:
            thread.start()

    def _recover(self) -> None:
        recover(self._db, self._settings)
        requeue_refused(self._db, self._fingerprint)

    def _recover_once(self) -> None:
        """Clear up, whichever thread comes first."""
        with self._recovery:
            if self._unrecovered.is_set():
                self._recover()
                self._unrecovered.clear()

    def stop(self, timeout: float = 30.0) -> bool:
        """Give running jobs back at their next step and end the threads; False if one did not end in time."""
        self._stopping.set()
        self._wake.set()
        deadline = time.monotonic() + timeout
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        alive = [thread for thread in self._threads if thread.is_alive()]
        self._threads = alive
        return not alive

    @property
    def threads(self) -> int:
        """How many threads run."""
        return sum(thread.is_alive() for thread in self._threads)

    @property
    def alive(self) -> bool:
        """Whether every thread that was started still runs; true also where none is wanted."""
        return self.threads >= (0 if self._stopping.is_set() else self._settings.ingest_workers)

    def run_until_idle(self) -> int:
        """Do what is queued, put-off jobs included, in this thread; returns how many documents became ready.

        Jobs that another worker holds are left to it. Raises Unavailable when the store can't be reached.
        """
        self._recover()
        ready = 0
        with Presence(self._settings) as owner:
            while not self._stopping.is_set():
                outcome = self._one(owner)
                if outcome == "done":
                    ready += 1
                elif outcome is None:
                    wait = seconds_until_due(self._db)
                    if wait is None:
                        break
                    self._stopping.wait(max(wait, 0.01))  # due but locked: another is taking it
        return ready

    def _loop(self) -> None:
        while not self._stopping.is_set():
            try:
                self._recover_once()
                with Presence(self._settings) as owner:
                    while not self._stopping.is_set():
                        self._wake.clear()
                        if self._one(owner) is None:
                            self._wake.wait(POLL_SECONDS)
            except Exception:  # whatever it is, a thread that ends would leave every later document queued
                log.exception("the ingest thread is in trouble and tries again in %.0f s", TROUBLE_SECONDS)
                self._stopping.wait(TROUBLE_SECONDS)

    def _one(self, owner: str) -> Outcome | None:
        """Take and do one job; None when there is none."""
        jobs.release_all(self._db, self._held_still)
        if has_suspect(self._db):
            with self._turns.alone():
                if (outcome := self._take(owner, "suspect")) is not None:
                    return outcome
        with self._turns.together():
            return self._take(owner, "oldest" if next(self._count) % OLDEST_EVERY == 0 else "smallest")

    def _take(self, owner: str, turn: Turn) -> Outcome | None:
        lease = jobs.lease(self._db, owner, seconds=self._lease_seconds, turn=turn)
        if lease is None:
            return None
        with _Heartbeat(self._db, lease, self._lease_seconds) as heart:
            try:
                outcome = self._pipeline.run(
                    lease, lambda: self._stopping.is_set() or heart.lost.is_set(), heart.outranked.is_set
                )
            except Unavailable:
                self._held_still.append(lease)
                raise
        log.info("job %s of document %s: %s", lease.job_id, lease.document_id, outcome)
        self._on_outcome(outcome)
        if outcome == "done" and self._on_published is not None:
            try:
                self._on_published(lease.collection_id, lease.document_id)
            except Exception:  # the document is published; who listens finds it in the log of changes
                log.exception("the listener for %s failed", lease.document_id)
        return outcome


class _Heartbeat:
    """Renews a lease from a thread of its own, and notices that it is lost or that a smaller job waits."""

    def __init__(self, db: Database, lease: Lease, seconds: float) -> None:
        self._db = db
        self._lease = lease
        self._seconds = seconds
        self._done = threading.Event()
        self.lost = threading.Event()
        self.outranked = threading.Event()
        self._thread = threading.Thread(target=self._beat, name=f"lease-{lease.job_id}", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        self._thread.join()

    def _beat(self) -> None:
        began = renewed = time.monotonic()
        outranked = False
        while not self._done.wait(min(POLL_SECONDS, self._seconds / 4)):
            try:
                if time.monotonic() - renewed > self._seconds / 3:
                    held = renew(self._db, self._lease, seconds=self._seconds)
                    renewed = time.monotonic()
                else:
                    held = is_held(self._db, self._lease)
                if held and time.monotonic() - began > QUANTUM_SECONDS:
                    # A free worker takes a small job at once: what still waits after a beat finds none free.
                    waits = is_outranked(self._db, self._lease)
                    if waits and outranked:
                        self.outranked.set()
                    outranked = waits
            except Unavailable:
                log.warning("lease %s could not be renewed", self._lease.job_id, exc_info=True)
                held = time.monotonic() - renewed < self._seconds
            if not held:
                self.lost.set()
                return


def recover(db: Database, settings: Settings) -> None:
    """Free the jobs of dead workers and remove what they left.

    Safe while others work. Raises Unavailable when the store can't be reached, OSError when the disk refuses.
    """
    freed = jobs.reclaim(db, known_dead(settings))
    for path in sorted(workers_folder(settings).glob("wrk_*")):
        remove_if_dead(path)
    removed = [*originals_of(db, settings).sweep(), *clear_leftovers(db, settings)]
    removed += clear_shared(db, settings)
    if freed or removed:
        log.info("took up after a crash: %d jobs freed, %d files removed", freed, len(removed))
    db.scrub(patience=0.2)
