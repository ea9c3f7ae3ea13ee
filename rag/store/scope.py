"""Whose data: every repository is built with a scope, and none has a method without one."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy.orm import Session

from rag.store.tables import DEFAULT_WORKSPACE


@dataclass(frozen=True, slots=True)
class Scope:
    """The workspace on whose behalf something is done."""

    workspace_id: str


DEFAULT_SCOPE = Scope(DEFAULT_WORKSPACE)
"""The only workspace of an installation without keys."""


class Repository:
    """A session bound to one workspace; what belongs to another one does not exist here."""

    def __init__(self, session: Session, scope: Scope) -> None:
        self._session = session
        self._scope = scope
        self._workspace = scope.workspace_id


def utc_now() -> datetime:
    """The present time, aware, in UTC."""
    return datetime.now(UTC)
