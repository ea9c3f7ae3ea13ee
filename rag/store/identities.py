"""What the repositories of people hand out: frozen rows that outlive their session."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from rag.roles import Role


@dataclass(frozen=True, slots=True)
class WorkspaceRow:
    """A tenant. Its limits: None is what the settings say, 0 is none."""

    id: str
    name: str
    created_at: datetime
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    max_documents: int | None = None
    max_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class UserRow:
    """A person; an operator may do everything in every workspace's name."""

    id: str
    email: str
    name: str
    operator: bool
    created_at: datetime
    disabled_at: datetime | None
    issuer: str | None = None
    subject: str | None = None


@dataclass(frozen=True, slots=True)
class Rights:
    """A user's roles in one workspace: in all of it, and by the id of a collection."""

    role: Role | None = None
    collections: Mapping[str, Role] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class MemberRow:
    """A user in a workspace with what they may do there."""

    user: UserRow
    rights: Rights


@dataclass(frozen=True, slots=True)
class KeyRow:
    """An API key without its secret; `prefixes` are the beginnings of its valid secrets, newest first.

    `collections` are the ids of those that it is for; None is all. Limits as of a `WorkspaceRow`.
    """

    id: str
    workspace_id: str
    user_id: str | None
    name: str
    role: Role
    operator: bool
    collections: tuple[str, ...] | None
    prefixes: tuple[str, ...]
    created_at: datetime
    created_by: str
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
