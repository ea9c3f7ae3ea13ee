"""Who asks, and what that allows them: roles in one workspace and in its collections, as a scope."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from rag.roles import Role, covers, greater, lesser
from rag.store.identities import KeyRow, Rights
from rag.store.scope import Scope
from rag.store.tables import DEFAULT_WORKSPACE


@dataclass(frozen=True, slots=True)
class RateLimits:
    """What may be used in a minute; None is what the settings say, 0 is without a limit."""

    requests: int | None = None
    tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Principal:
    """Somebody in one workspace: with `role` in all of it, and with further roles by collection."""

    kind: Literal["local", "key", "user"]
    id: str
    name: str
    workspace_id: str
    role: Role | None = None
    collections: Mapping[str, Role] = field(default_factory=dict)
    operator: bool = False
    limits: RateLimits = RateLimits()
    workspace_limits: RateLimits = RateLimits()

    def role_in(self, collection_id: str) -> Role | None:
        """What they may do in a collection of their workspace; None is nothing."""
        return greater(self.role, self.collections.get(collection_id))

    def may(self, needed: Role, *, everywhere: bool = False) -> bool:
        """Whether there is a collection in which they have this role; or `everywhere` in the workspace."""
        held = () if everywhere else self.collections.values()
        return covers(self.role, needed) or any(covers(role, needed) for role in held)

    def scope(self, needed: Role = "reader") -> Scope:
        """What they see, and in which of it they may do what that role is needed for."""
        visible = None if self.role is not None else frozenset(self.collections)
        if covers(self.role, needed):
            return Scope(self.workspace_id, visible)
        allowed = frozenset(key for key, role in self.collections.items() if covers(role, needed))
        return Scope(self.workspace_id, visible, allowed)


LOCAL = Principal("local", "local", "local", DEFAULT_WORKSPACE, "admin", operator=True)
"""Whoever uses an installation in which nobody is asked who they are: one person on their own machine."""


def of_key(key: KeyRow, rights: Rights | None, *, operator: bool) -> Principal:
    """Who shows a key. `rights` are those of its user, which bound it; None for a key of no user's."""

    def bounded(role: Role | None) -> Role | None:
        return None if role is None else lesser(key.role, role)

    if rights is None:
        role, collections = bounded(key.role), dict.fromkeys(key.collections or (), key.role)
    else:
        role = bounded(rights.role)
        named = rights.collections if key.collections is None else key.collections
        held = {each: bounded(greater(rights.role, rights.collections.get(each))) for each in named}
        collections = {each: found for each, found in held.items() if found is not None}
    if key.collections is not None:
        role = None
    return Principal("key", key.id, key.name, key.workspace_id, role, collections, operator)
