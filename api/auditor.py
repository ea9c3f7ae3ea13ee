"""Writing the audit log: changes before they are answered, questions and downloads soon after."""

from __future__ import annotations

import logging
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from api.logs import request_id
from rag.errors import LongleafError
from rag.store.repositories.audit import AuditLog, Done
from rag.store.scope import Scope
from rag.store.session import Database

if TYPE_CHECKING:
    from api.wiring import Service

log = logging.getLogger(__name__)

MOST_WAITING = 10_000
"""Entries that are kept in memory while the database takes none; beyond that the oldest are lost."""


class Auditor:
    """Enters what is done into the log of its workspace."""

    def __init__(self, db: Database, background: Callable[[Callable[[], None]], None]) -> None:
        self._db = db
        self._background = background
        self._lock = threading.Lock()
        self._waiting: list[tuple[str, Done]] = []
        self._called = False

    def enter(self, workspace_id: str, done: Done) -> None:
        """Write an entry; it is there when this returns. Raises Unavailable."""
        with self._db.session() as session:
            AuditLog(session, Scope(workspace_id)).add(done)

    def later(self, workspace_id: str, done: Done) -> None:
        """Write an entry soon, together with others: who searches does not wait for those who write."""
        with self._lock:
            self._waiting.append((workspace_id, done))
            if self._called:
                return
            self._called = True
        self._background(self._flush)

    def _flush(self) -> None:
        with self._lock:
            batch, self._waiting, self._called = self._waiting, [], False
        by_workspace: dict[str, list[Done]] = defaultdict(list)
        for workspace_id, done in batch:
            by_workspace[workspace_id].append(done)
        try:
            with self._db.session() as session:
                for workspace_id in sorted(by_workspace):  # in one order, so that none waits crosswise
                    entries = AuditLog(session, Scope(workspace_id))
                    for done in by_workspace[workspace_id]:
                        entries.add(done)
        except Exception:
            self._keep(batch)
            raise

    def _keep(self, batch: list[tuple[str, Done]]) -> None:
        """Let what could not be written go with the next."""
        with self._lock:
            waiting = batch + self._waiting
            self._waiting = waiting[-MOST_WAITING:]
        if len(waiting) > MOST_WAITING:
            log.error("%d entries of the audit log are lost", len(waiting) - MOST_WAITING)


@contextmanager
def entered(service: Service, action: str, *, change: bool) -> Iterator[None]:
    """Enter what the block does for the asker of `service`, under this name; a change before its end is told.

    Raises Unavailable where a change can't be entered.
    """
    status = 200
    try:
        yield
    except LongleafError as error:
        status = error.status
        raise
    except Exception:
        status = 500
        raise
    finally:
        principal, auditor = service.principal, service.auditor
        if principal is not None and auditor is not None:
            done = Done(principal.id, action, " ".join(service.deed.ids), status, request_id.get())
            (auditor.enter if change else auditor.later)(principal.workspace_id, done)
