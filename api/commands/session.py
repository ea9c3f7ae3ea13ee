"""A `Service` for the length of one command, without a server."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from sqlalchemy.orm import Session

from api.wiring import DEFAULT_COLLECTION, Service
from ingest.locks import held_folder
from rag.settings import Settings
from rag.store.opening import open_database
from rag.store.repositories.audit import AuditLog, Done
from rag.store.scope import Scope
from rag.store.session import Database

BY = "command line"
"""Who does what a verb does, as the store writes it down."""


@contextmanager
def opened(settings: Settings) -> Iterator[Database]:
    """The database alone, for a command that needs no model. Raises BadDatabaseUrl."""
    db = open_database(settings)
    try:
        yield db
    finally:
        db.dispose()


def audited(session: Session, workspace_id: str, action: str, *target: str) -> None:
    """Enter into the audit log what a verb does, at the end of the transaction that does it."""
    AuditLog(session, Scope(workspace_id)).add(Done(BY, action, " ".join(target)))


def limits_of(**given: int | None) -> dict[str, int | None]:
    """Limits as the store takes them: those that were given, -1 as None."""
    return {name: None if most == -1 else most for name, most in given.items() if most is not None}


def temporary_folder() -> AbstractContextManager[Path]:
    """For a store that is there as long as a command; what a killed one left goes when the next is made."""
    return held_folder(Path(tempfile.gettempdir()), "longleaf-store-")


@contextmanager
def command_service(settings: Settings, *, engine: bool, collection: str | None = None) -> Iterator[Service]:
    """Start the parts that a command needs; no worker runs by itself.

    With `collection`, that must be there, which is found out before any model is loaded. Raises NotFound,
    Unmigrated, Unavailable.
    """
    service = Service(settings)
    try:
        service.open()
        if collection is not None and collection != DEFAULT_COLLECTION:
            service.collection(collection)
        service.start(ingest=False, engine=engine)
        yield service
    finally:
        service.stop()
