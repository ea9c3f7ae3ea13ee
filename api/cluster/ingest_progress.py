"""How a bulk ingest is shown while it goes on: documents a second, queued, under way, failed."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from api.cluster.ingest import BulkIngest
from api.terminal import warn
from ingest import queue
from rag.store.records import FINAL_STATUSES
from rag.store.repositories import Documents
from rag.store.scope import Scope
from rag.store.session import Database

LINE_SECONDS = 30.0
"""Between two lines where stderr is no terminal."""
MOST_QUEUED = 1_000_000


class Unsettled:
    """Documents that are not in a final state yet, asked for a few at a time however many there are."""

    WINDOW = 200

    def __init__(self, db: Database, scope: Scope, document_ids: Sequence[str]) -> None:
        self._db = db
        self._scope = scope
        self._open = list(reversed(document_ids))

    def none(self) -> bool:
        """Whether all of them are settled, or gone; newer versions included."""
        while self._open:
            some = self._open[-self.WINDOW :]
            with self._db.read() as session:
                rows = Documents(session, self._scope).many(some)
            still = [
                key
                for key in some
                if (row := rows.get(key)) is not None and (row.updating or row).status not in FINAL_STATUSES
            ]
            self._open[-len(some) :] = still
            if still:
                return False
        return True


class Progress:
    """A line that is drawn anew on a terminal, and one now and then elsewhere."""

    def __init__(self, db: Database, bulk: BulkIngest) -> None:
        self._db = db
        self._bulk = bulk
        self._began = self._told = time.monotonic()
        self._on_terminal = sys.stderr.isatty()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._on_terminal:
            sys.stderr.write("\r\x1b[K")

    def show(self) -> None:
        """Say how it stands, if it is time to."""
        now = time.monotonic()
        if now - self._told < (0.5 if self._on_terminal else LINE_SECONDS):
            return
        self._told = now
        if self._on_terminal:
            sys.stderr.write(f"\r\x1b[K{self.line()}")
            sys.stderr.flush()
        else:
            warn(self.line())

    def line(self) -> str:
        """E.g. `12.5 documents/s, 340 queued, 48 in flight, 2 failed, on 4 nodes`."""
        figures = self._bulk.figures
        rate = figures.done / max(1e-9, time.monotonic() - self._began)
        queued = queue.length(self._db, MOST_QUEUED)
        nodes = f"{self._bulk.nodes} node{'' if self._bulk.nodes == 1 else 's'}"
        ended = f"{figures.held} in flight, {figures.failed} failed"
        return f"{rate:.1f} documents/s, {queued} queued, {ended}, on {nodes}"
