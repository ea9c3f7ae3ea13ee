"""Workspaces: the tenants. Only operators and the service itself come here."""

from __future__ import annotations

import builtins

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from rag.errors import Conflict, InvalidRequest, NotFound
from rag.ids import new_id
from rag.store.identities import WorkspaceRow
from rag.store.scope import utc_now
from rag.store.tables import Workspace

NAME_LIMIT = 100


class Workspaces:
    """All workspaces of the store."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def list(self) -> builtins.list[WorkspaceRow]:
        """All of them, by name."""
        return [_record(row) for row in self._session.scalars(select(Workspace).order_by(Workspace.name))]

    def get(self, workspace: str) -> WorkspaceRow:
        """The workspace of that id or name. Raises NotFound (`workspace_not_found`)."""
        row = None
        if "\0" not in workspace:  # which PostgreSQL can't be asked for
            row = self._session.get(Workspace, workspace) or self._session.scalar(
                select(Workspace).where(Workspace.name == workspace)
            )
        if row is None:
            raise NotFound(f"There is no workspace {workspace[:NAME_LIMIT]!r}.", code="workspace_not_found")
        return _record(row)

    def create(self, name: str) -> WorkspaceRow:
        """Make an empty one.

        Raises InvalidRequest (`invalid_name`), Conflict (`duplicate_workspace`) for a name that is taken.
        """
        row = Workspace(id=new_id("ws"), name=check_name(name, NAME_LIMIT), created_at=utc_now())
        try:
            with self._session.begin_nested():
                self._session.add(row)
        except IntegrityError as error:
            raise Conflict(
                f"There is already a workspace named {name!r}.", code="duplicate_workspace"
            ) from error
        return _record(row)

    def limit(self, workspace: str, **limits: int | None) -> WorkspaceRow:
        """Set limits by the names of the columns. What is there already stays. Raises NotFound."""
        row = self._session.get_one(Workspace, self.get(workspace).id)
        for name, most in limits.items():
            setattr(row, name, most)
        self._session.flush()
        return _record(row)


def check_name(name: str, limit: int) -> str:
    """A name without spaces at its ends. Raises InvalidRequest (`invalid_name`)."""
    name = name.strip()
    if not name or len(name) > limit or not name.isprintable():
        raise InvalidRequest(
            f"The name {name[:limit]!r} can't be used: take 1 to {limit} printable characters.",
            code="invalid_name",
        )
    return name


def _record(row: Workspace) -> WorkspaceRow:
    return WorkspaceRow(
        row.id,
        row.name,
        row.created_at,
        row.requests_per_minute,
        row.tokens_per_minute,
        row.max_documents,
        row.max_bytes,
    )
