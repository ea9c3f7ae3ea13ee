"""The desk of a bulk ingest: the one place that takes jobs, holds their leases and writes to the store.

It runs in a process of its own on the machine where the command was given. The actors on the nodes read,
cut and embed, and know neither the store nor a lease's meaning. Every write passes the lease's fence, as a
worker's does, so what an actor sends that was given up changes nothing.

A lost node is not an attempt: its documents were perhaps never begun. An actor that died while its node lives
is one, for a document may be the cause. Raises nothing to the actors: what goes wrong ends in the job.
"""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack

from api.cluster.ingest_books import Books, Why
from api.cluster.ingest_messages import Embedded, Figures, Hand, Part, Task, Turn
from ingest import jobs
from ingest.blobs import mark_of
from ingest.drafting import Order
from ingest.embedding import bare_chunks, begin_embedding, embedded_as, note_embedded, write_vectors
from ingest.entering import begin_reading, drop_old, is_written, note_parsed, publish, write_draft
from ingest.errors import file_missing
from ingest.leases import LEASE_SECONDS, Lease, LeaseLost, fenced, is_held, renew_all
from ingest.originals.choice import originals_of
from ingest.outcomes import Interrupted, settle
from ingest.parsers.base import ParsedDocument
from ingest.presence import Presence, known_dead
from ingest.queue import OLDEST_EVERY
from ingest.queue import Turn as Kind
from rag.errors import Unavailable
from rag.settings import Settings
from rag.store.opening import open_database
from rag.store.records import ChunkDraft
from rag.store.repositories import Generations

log = logging.getLogger(__name__)

PART = 32
"""Chunks that are embedded together, and lost together."""
PIECE = 4 << 20
"""Bytes of a file that travel at a time to a node which does not share the folder."""
BEAT_SECONDS = 1.0
RECLAIM_SECONDS = 5.0


class Desk:
    """Gives out work and takes what comes of it; its methods may be called from many threads."""

    def __init__(
        self,
        settings: Settings,
        fingerprint: str,
        most: int,
        alive: Callable[[], set[str]],
        *,
        lease_seconds: float = LEASE_SECONDS,
    ) -> None:
        """`most` leases are out at a time; `alive` gives the ids of the nodes there are. Raises OSError,
        LongleafError."""
        self._settings = settings
        self._fingerprint = fingerprint
        self._most = most
        self._alive = alive
        self._lease_seconds = lease_seconds
        self._db = open_database(settings)
        self._originals = originals_of(self._db, settings)
        self._mark = mark_of(settings.data_dir / "blobs")
        self._books = Books()
        self._taking = threading.Lock()
        self._turns = itertools.count(1)
        self._ended: Counter[str] = Counter()
        self._moves = 0
        self._round = 0
        self._held_still: list[Lease] = []
        self._presence = ExitStack()
        self._owner = self._presence.enter_context(Presence(settings, jobs.DESK))
        self._closing = threading.Event()
        self._heart = threading.Thread(target=self._beat, name="desk", daemon=True)
        self._heart.start()

    def next_round(self, number: int, most: int) -> None:
        """Let actors of other rounds come to their end; 0 ends all."""
        self._round = number
        self._most = most

    def hear(self, hand: Hand) -> list[str]:
        """Note that an actor lives; returns the tokens of what it has in work and may go on with."""
        self._books.hear(hand)
        return self._books.of(hand)

    def take(self, hand: Hand, round_number: int) -> Turn:
        """The next job whose turn it is, for as many as may be under way."""
        self._books.hear(hand)
        if round_number != self._round or self._closing.is_set():
            return Turn("end")
        lease = self._lease(hand)
        if lease is None:
            return Turn("wait")
        self._moves += 1
        try:
            return self._begin(lease, hand)
        except Exception as error:
            self._end(lease, error)
            return Turn("parts")

    def _lease(self, hand: Hand) -> Lease | None:
        with self._taking:
            if self._books.counts()[0] >= self._most:
                return None
            turn: Kind | None = "oldest" if next(self._turns) % OLDEST_EVERY == 0 else None
            try:
                lease = jobs.lease(self._db, self._owner, seconds=self._lease_seconds, turn=turn)
            except Unavailable:
                log.warning("no job can be taken", exc_info=True)
                return None
            if lease is not None:
                self._books.take(lease, hand)
            return lease

    def _begin(self, lease: Lease, hand: Hand) -> Turn:
        if is_written(self._db, lease):
            return Turn("parts", parts=self._parts(lease, hand.node))
        order = begin_reading(self._db, lease, self._fingerprint)
        try:
            path = self._originals.lies_at(lease.document_id, lease.generation)
        except FileNotFoundError as error:
            if is_held(self._db, lease):
                raise file_missing(lease.document_id) from error
            raise LeaseLost(f"document {lease.document_id} was deleted") from error
        if path is None:
            return Turn("task", Task(lease, order, "", None))
        return Turn("task", Task(lease, order, str(path.resolve()), self._mark))

    def piece(self, lease: Lease, offset: int) -> bytes:
        """Up to `PIECE` bytes of a lease's file from there; none at its end.

        Raises OSError, LongleafError.
        """
        return b"".join(self._originals.read(lease.document_id, lease.generation, offset, offset + PIECE))

    def enter(
        self, hand: Hand, lease: Lease, order: Order, parsed: ParsedDocument, rows: Sequence[ChunkDraft]
    ) -> tuple[Part, ...]:
        """Write what was read; returns what is to be embedded."""
        self._books.hear(hand)
        self._moves += 1
        try:
            with fenced(self._db, lease) as session:
                note_parsed(session, lease, order, parsed)
                write_draft(session, lease, parsed, rows)
            return self._parts(lease, hand.node)
        except Exception as error:
            self._end(lease, error)
            return ()

    def claim(self, hand: Hand, parts: Sequence[tuple[Lease, int]]) -> list[bool]:
        """Whether each part is still wanted; it is this hand's then."""
        self._books.hear(hand)
        return [self._books.claim(lease, number, hand) for lease, number in parts]

    def store(self, hand: Hand, made: Sequence[Embedded]) -> None:
        """Write vectors, and publish each document that has all of its own."""
        self._books.hear(hand)
        for each in made:
            self._moves += 1
            try:
                if each.vectors is None:
                    raise each.error or Interrupted
                self._store(each.part, dict(zip(each.part.keys, each.vectors, strict=True)))
            except Exception as error:
                self._end(each.part.lease, error)

    def fail(self, lease: Lease, error: Exception) -> None:
        """End an attempt with the error that an actor met."""
        self._moves += 1
        self._end(lease, error)

    def figures(self) -> Figures:
        """How it stands."""
        held, busy = self._books.counts()
        ended = self._ended
        again = ended["postponed"] + ended["released"]
        return Figures(held, busy, ended["done"], ended["failed"], again, ended["lost"], self._moves)

    def give_back(self) -> None:
        """Let go of all that is under way, unharmed."""
        for lease in self._books.leases():
            self._end(lease, Interrupted())

    def close(self) -> None:
        """Give everything back and stop."""
        self._closing.set()
        self._heart.join()
        self.give_back()
        if self._held_still:  # the store is gone: the file stays, and who comes next sees a dead one's
            return
        self._presence.close()
        self._db.dispose()

    def _parts(self, lease: Lease, node: str) -> tuple[Part, ...]:
        """The chunks that lack a vector, cut up; a document that lacks none is published."""
        title, done, total = begin_embedding(self._db, lease)
        if done == total:
            self._store(Part(lease, 0, (), (), ()), {})
            return ()
        parts: list[Part] = []
        last = -1
        while True:
            rows, texts = bare_chunks(self._db, lease, after=last, limit=PART)
            if not rows:
                break
            last = rows[-1].ordinal
            inputs = tuple(embedded_as(row, text, title) for row, text in zip(rows, texts, strict=True))
            keys, tokens = tuple(row.id for row in rows), tuple(row.tokens for row in rows)
            parts.append(Part(lease, len(parts), keys, tokens, inputs))
        self._books.split(lease, range(len(parts)), node)
        return tuple(parts)

    def _store(self, part: Part, vectors: dict[int, object]) -> None:
        lease = part.lease
        with fenced(self._db, lease) as session:
            if vectors:
                write_vectors(session, lease, self._fingerprint, vectors)  # type: ignore[arg-type]
            done, total = Generations(session, lease.scope).progress(lease.document_id, lease.generation)
            if done < total:
                note_embedded(session, lease, done, total)
            else:
                publish(session, lease, self._fingerprint)
        if done < total:
            self._books.close(lease, part.number)
            return
        self._books.drop(lease)
        self._ended["done"] += 1
        drop_old(self._db, self._settings, lease)

    def _end(self, lease: Lease, error: Exception) -> None:
        self._books.drop(lease)
        try:
            self._ended[settle(self._db, lease, error)] += 1
        except LeaseLost:
            self._ended["lost"] += 1
        except Unavailable:
            self._held_still.append(lease)

    def _beat(self) -> None:
        """Keep leases alive, take back what was lost, and free what dead workers of this folder hold."""
        renewed = reclaimed = time.monotonic()
        while not self._closing.wait(BEAT_SECONDS):
            try:
                for lease, why in self._books.orphans(self._alive()):
                    log.warning("job %s is taken back: %s", lease.job_id, why)
                    self._take_back(lease, why)
                jobs.release_all(self._db, self._held_still)
                if time.monotonic() - renewed > self._lease_seconds / 3:
                    for lost in renew_all(self._db, self._books.leases(), seconds=self._lease_seconds):
                        self._books.drop(lost)
                    renewed = time.monotonic()
                if time.monotonic() - reclaimed > RECLAIM_SECONDS:
                    jobs.reclaim(self._db, known_dead(self._settings))
                    reclaimed = time.monotonic()
            except Exception:  # whatever it is: without this thread every lease would run out
                log.warning("the desk is in trouble and goes on", exc_info=True)

    def _take_back(self, lease: Lease, why: Why) -> None:
        self._moves += 1
        try:
            if why == "node":
                jobs.wait(self._db, lease, "the machine that it was read on was lost, again and again")
            elif why == "actor":
                jobs.postpone(self._db, lease, "the process that it was read in died", code="out_of_memory")
            else:
                jobs.release(self._db, lease)
            self._ended["postponed"] += 1
        except LeaseLost:
            self._ended["lost"] += 1
        except Unavailable:
            self._held_still.append(lease)
