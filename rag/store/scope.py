"""Whose data: every repository is built with a scope, and none has a method without one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, CursorResult, Executable, bindparam, select, true
from sqlalchemy.orm import InstrumentedAttribute, Session

from rag.errors import Forbidden
from rag.store.tables import DEFAULT_WORKSPACE

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Scope:
    """The workspace on whose behalf something is done, and how much of it.

    Only collections that are `visible` exist; in one that is visible and not `allowed` it may not be done.
    Both are ids; None is every collection, also one that is yet to be made.
    """

    workspace_id: str
    visible: frozenset[str] | None = None
    allowed: frozenset[str] | None = None

    @property
    def whole(self) -> bool:
        """Whether what is being done may be done in the whole workspace."""
        return self.visible is None and self.allowed is None


DEFAULT_SCOPE = Scope(DEFAULT_WORKSPACE)
"""The only workspace of an installation without keys."""


class Repository:
    """A session bound to one scope; what belongs to another workspace does not exist here."""

    def __init__(self, session: Session, scope: Scope) -> None:
        self._session = session
        self._scope = scope
        self._workspace = scope.workspace_id

    def _held(self, kind: type[T], identity: str) -> T | None:
        """The row of a table with that id, if it is this workspace's."""
        if "\0" in identity:  # which PostgreSQL can't be asked for
            return None
        table: Any = kind
        query = select(kind).where(table.id == identity, table.workspace_id == self._workspace)
        return self._session.scalar(query)

    def _seen(self, collection_id: InstrumentedAttribute[Any]) -> ColumnElement[bool]:
        """The condition that a row is of a collection which this scope sees."""
        visible = self._scope.visible
        return true() if visible is None else collection_id.in_(sorted(visible))

    def _fetch(self, built: Callable[[bool], Executable], **values: Any) -> CursorResult[*tuple[Any, ...]]:
        """The rows of a statement that was built once, with `of_scope` among its conditions.

        Args:
            built: gives it, for a scope that sees some collections alone or for one that sees all.
        """
        visible = self._scope.visible
        values["workspace"] = self._workspace
        if visible is not None:
            values["visible"] = sorted(visible)
        return fetch(self._session, built(visible is not None), values)

    def _permit(self, collection_id: str) -> None:
        """Raise Forbidden for a collection in which this may not be done."""
        allowed = self._scope.allowed
        if allowed is not None and collection_id not in allowed:
            raise Forbidden("Your role in this collection does not allow this; ask one of its admins.")

    def _permit_all(self, what: str) -> None:
        """Raise Forbidden for who may not do this in the whole workspace."""
        if not self._scope.whole:
            raise Forbidden(f"Your role in this workspace does not allow you to {what}.")


def of_scope(
    workspace_id: ColumnElement[str], collection_id: ColumnElement[str], restricted: bool
) -> ColumnElement[bool]:
    """In a statement that is built once: that a row is of the workspace and of a collection that is seen.

    `Repository._fetch` has the values; `restricted` is what it asks for.
    """
    mine = workspace_id == bindparam("workspace")
    return mine & collection_id.in_(bindparam("visible", expanding=True)) if restricted else mine


def fetch(
    session: Session, statement: Executable, values: Mapping[str, Any]
) -> CursorResult[*tuple[Any, ...]]:
    """The rows of a statement over tables that was built once, for what every search asks.

    Without objects for rows a statement takes a tenth of the time, and most of that was the building.
    """
    session.flush()  # what the session holds back is seen, as by any other query
    return session.connection().execute(statement, values)


def utc_now() -> datetime:
    """The present time, aware, in UTC."""
    return datetime.now(UTC)
