"""Who a store is: what derived state, folders and backups are held against."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from rag.store.tables import StoreState


def identity_of(session: Session) -> str:
    """The name that the store got when it was made; no other has it."""
    return session.scalars(select(StoreState.identity)).one()
