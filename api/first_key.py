"""The first key of an installation that asks for keys: made once, and left in a file for its keeper alone."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from sqlalchemy import select

from rag.settings import Settings
from rag.store.repositories import DEFAULT_SCOPE, AuditLog, Credentials, Keys
from rag.store.repositories.audit import Done
from rag.store.session import Database
from rag.store.tables import StoreState

log = logging.getLogger(__name__)

FILE_NAME = "first-admin-key"


def ensure_first_key(db: Database, settings: Settings) -> Path | None:
    """Make an operator's key where there is none that is valid; returns the file that it was left in.

    Of several processes that start at once one makes it. Raises OSError where the file can't be written; then
    there is no key either.
    """
    with db.read() as session:
        if Credentials(session).operators():
            return None
    with db.session() as session:
        session.execute(select(StoreState.id).with_for_update())
        if Credentials(session).operators():
            return None
        made = Keys(session, DEFAULT_SCOPE).create("first key", "admin", created_by="start", operator=True)
        AuditLog(session, DEFAULT_SCOPE).add(Done("start", "keys create", made.row.id))
        path = settings.data_dir / FILE_NAME
        draft = path.with_name(f".{FILE_NAME}.{made.row.id}")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(made.text + "\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)
    log.warning("the first admin's key is in %s; keep it elsewhere and remove the file", path)
    return path
