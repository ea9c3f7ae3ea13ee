"""What other processes delete or replace: this one's engine forgets it as well, within a second."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from rag.errors import LongleafError
from rag.store.repositories.changes import dropped_after
from rag.store.session import Database

log = logging.getLogger(__name__)

POLL_SECONDS = 0.5


class Follower:
    """Looks at the log of changes, whoever wrote it, and names the documents whose old text is gone."""

    def __init__(self, db: Database, forget: Callable[[str], None]) -> None:
        """`forget` is called with each document's id; it may be called more than once for one change."""
        self._db = db
        self._forget = forget
        self._seen: int | None = None

    def look(self) -> None:
        """Forget what was dropped since the last look; the first one only notes where the log ends.

        Raises Unavailable.
        """
        with self._db.read() as session:
            newest, dropped = dropped_after(session, self._seen)
        for document_id in dropped:
            self._forget(document_id)
        self._seen = newest

    def run(self, stopping: threading.Event) -> None:
        """Look again and again until it is time to stop."""
        while not stopping.wait(POLL_SECONDS):
            try:
                self.look()
            except LongleafError as error:  # the next look makes up for it
                log.debug("the log of changes could not be read: %s", error)
            except Exception:
                log.exception("not all that was deleted is forgotten; the next look tries again")
