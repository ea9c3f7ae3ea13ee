"""Rows of keys, users, members and workspaces as the API shows them, and the names that it takes for ids."""

from __future__ import annotations

from sqlalchemy.orm import Session

from api import schemas
from api.wiring import Service
from rag.errors import NotFound
from rag.store.identities import KeyRow, MemberRow, UserRow, WorkspaceRow
from rag.store.repositories import Collections, Workspaces
from rag.store.scope import Scope


def key(row: KeyRow) -> schemas.Key:
    """A key without its secret."""
    return schemas.Key(
        id=row.id,
        name=row.name,
        role=row.role,
        operator=row.operator,
        collections=None if row.collections is None else list(row.collections),
        user_id=row.user_id,
        prefixes=list(row.prefixes),
        created_at=row.created_at,
        created_by=row.created_by,
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
        last_used_at=row.last_used_at,
        requests_per_minute=row.requests_per_minute,
        tokens_per_minute=row.tokens_per_minute,
    )


def key_with_secret(row: KeyRow, text: str) -> schemas.KeyWithSecret:
    """A key with its secret, for the one time that it is shown."""
    return schemas.KeyWithSecret(**key(row).model_dump(), key=text)


def user(row: UserRow) -> schemas.User:
    """A person."""
    return schemas.User(
        id=row.id,
        email=row.email,
        name=row.name,
        operator=row.operator,
        created_at=row.created_at,
        disabled_at=row.disabled_at,
    )


def member(row: MemberRow) -> schemas.Member:
    """A person in a workspace."""
    rights = row.rights
    return schemas.Member(user=user(row.user), role=rights.role, collections=dict(rights.collections))


def workspace(row: WorkspaceRow) -> schemas.Workspace:
    """A tenant."""
    return schemas.Workspace(
        id=row.id,
        name=row.name,
        created_at=row.created_at,
        requests_per_minute=row.requests_per_minute,
        tokens_per_minute=row.tokens_per_minute,
        max_documents=row.max_documents,
        max_bytes=row.max_bytes,
    )


def collection_id(session: Session, scope: Scope, name: str) -> str:
    """The id of the collection of that name or id. Raises NotFound (`collection_not_found`)."""
    collections = Collections(session, scope)
    found = collections.find(name)
    return found.id if found is not None else collections.get(name).id


def chosen_scope(session: Session, service: Service, name: str | None) -> Scope:
    """The scope of another workspace, which operators may name; by default one's own.

    What is done there is entered into its audit log.

    Raises NotFound (`workspace_not_found`), also for one that is not theirs.
    """
    if name is None:
        return service.scope
    principal, own = service.principal, service.scope.workspace_id
    if principal is None or not (principal.operator or name == own):
        raise NotFound(f"There is no workspace {name[:100]!r}.", code="workspace_not_found")
    chosen = Scope(Workspaces(session).get(name).id)
    service.deed.workspace_id = chosen.workspace_id
    return chosen
