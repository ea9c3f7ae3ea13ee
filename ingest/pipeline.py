"""One job's way from the stored file to a published generation, in one process.

Text, pages and chunks are written in one transaction, then vectors batch by batch, then the generation is
published by one more (`entering`). A job that is taken up again goes on where the last such step ended.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Literal

from ingest.drafting import Order, cut, read_file
from ingest.embedding import embed_chunks
from ingest.entering import begin_reading, drop_old, is_written, note_pages, note_parsed, publish, write_draft
from ingest.errors import file_missing
from ingest.leases import Lease, LeaseLost, fenced, is_held
from ingest.originals.choice import originals_of
from ingest.outcomes import Interrupted, Outcome, settle
from ingest.parsers.base import ParsedDocument
from rag.embedders.base import Embedder
from rag.settings import Settings
from rag.store.session import Database

PROGRESS_SECONDS = 0.5

Step = Literal["leased", "parsed", "written", "embedded", "ready_to_publish", "published"]


class Pipeline:
    """Runs jobs; one instance may run several at once in different threads."""

    def __init__(
        self,
        db: Database,
        settings: Settings,
        embedder: Embedder,
        on_step: Callable[[Step], None] = lambda step: None,  # noqa: ARG005
    ) -> None:
        """`on_step` is called when a step is reached: `embedded` after each batch of vectors."""
        self._db = db
        self._settings = settings
        self._embedder = embedder
        self._on_step = on_step

    def run(
        self,
        lease: Lease,
        interrupted: Callable[[], bool] = lambda: False,
        outranked: Callable[[], bool] = lambda: False,
    ) -> Outcome:
        """Do the job to its end, or as far as it goes; the outcome is in the store when it returns.

        `interrupted` is asked often; once it is true, the job is given back. So it is with `outranked`, which
        is asked only where nothing is lost by it: between batches. Raises Unavailable only when the store
        itself can't be written: then the lease runs out and another attempt follows.
        """
        try:
            try:
                self._attempt(lease, interrupted, outranked)
            except Exception as error:
                return settle(self._db, lease, error)
            return "done"
        except LeaseLost:
            return "lost"

    def _attempt(self, lease: Lease, interrupted: Callable[[], bool], outranked: Callable[[], bool]) -> None:
        self._on_step("leased")
        if not is_written(self._db, lease):
            self._read(lease, interrupted)
        embed_chunks(
            self._db,
            self._embedder,
            lease,
            lambda: interrupted() or outranked(),
            lambda: self._on_step("embedded"),
        )
        self._on_step("ready_to_publish")
        with fenced(self._db, lease) as session:
            publish(session, lease, self._embedder.fingerprint)
        self._on_step("published")
        drop_old(self._db, self._settings, lease)

    def _read(self, lease: Lease, interrupted: Callable[[], bool]) -> None:
        order = begin_reading(self._db, lease, self._embedder.fingerprint)
        parsed = self._parse(lease, order, interrupted)
        self._on_step("parsed")
        with fenced(self._db, lease) as session:
            note_parsed(session, lease, order, parsed)
        rows = cut(parsed, order, self._embedder.token_spans, self._settings.chunk_tokens)
        if interrupted():
            raise Interrupted
        with fenced(self._db, lease) as session:
            write_draft(session, lease, parsed, rows)
        self._on_step("written")

    def _parse(self, lease: Lease, order: Order, interrupted: Callable[[], bool]) -> ParsedDocument:
        told = time.monotonic()

        def on_progress(done: int, total: int | None) -> None:
            nonlocal told
            if time.monotonic() - told < PROGRESS_SECONDS:
                return
            told = time.monotonic()
            note_pages(self._db, lease, done, total)

        with ExitStack() as held:
            try:
                original = originals_of(self._db, self._settings).open(lease.document_id, lease.generation)
                path = held.enter_context(original)
            except FileNotFoundError as error:
                if is_held(self._db, lease):
                    raise file_missing(lease.document_id) from error
                raise LeaseLost(f"document {lease.document_id} was deleted") from error
            return read_file(path, order, self._settings, on_progress, interrupted)
