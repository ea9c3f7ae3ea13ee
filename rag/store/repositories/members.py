"""Members: users in one workspace, with their roles in it and in its collections."""

from __future__ import annotations

import builtins
from typing import cast

from sqlalchemy import delete, select

from rag.errors import NotFound
from rag.roles import Role, greater
from rag.store.identities import MemberRow, Rights
from rag.store.people import CollectionRole, Membership, User
from rag.store.repositories.collections import Collections
from rag.store.repositories.users import user_record
from rag.store.scope import Repository, utc_now
from rag.store.tables import Collection


class Members(Repository):
    """Members of one workspace."""

    def list(self) -> builtins.list[MemberRow]:
        """All of them, by address."""
        query = (
            select(User, Membership)
            .join(Membership, Membership.user_id == User.id)
            .where(Membership.workspace_id == self._workspace)
            .order_by(User.email)
        )
        return [
            MemberRow(user_record(user), self._rights(membership))
            for user, membership in self._session.execute(query)
        ]

    def get(self, user_id: str) -> MemberRow:
        """Raises NotFound (`member_not_found`), also for a user of other workspaces alone."""
        query = (
            select(User, Membership)
            .join(Membership, Membership.user_id == User.id)
            .where(Membership.workspace_id == self._workspace, User.id == user_id)
        )
        row = self._session.execute(query).one_or_none()
        if row is None:
            raise NotFound(f"There is no member {user_id[:60]!r}.", code="member_not_found")
        return MemberRow(user_record(row[0]), self._rights(row[1]))

    def rights(self, user_id: str) -> Rights | None:
        """What a user may do here; None for who is no member."""
        membership = self._session.get(Membership, (self._workspace, user_id), populate_existing=True)
        return None if membership is None else self._rights(membership)

    def add(self, user_id: str, role: Role | None) -> MemberRow:
        """Make a user a member with a role in every collection, or in none; or change that role."""
        membership = self._session.get(Membership, (self._workspace, user_id))
        if membership is None:
            membership = Membership(workspace_id=self._workspace, user_id=user_id, created_at=utc_now())
            self._session.add(membership)
        membership.role = role
        self._session.flush()
        return self.get(user_id)

    def provide(self, user_id: str, role: Role | None) -> None:
        """Note the role that a sign-in service's word gives a user, beside that of the admins; None takes it.

        Who is left with nothing is no member any more.
        """
        membership = self._session.get(Membership, (self._workspace, user_id))
        if membership is None:
            if role is None:
                return
            membership = Membership(workspace_id=self._workspace, user_id=user_id, created_at=utc_now())
            self._session.add(membership)
        had, membership.provided = membership.provided, role
        self._session.flush()
        rights = self._rights(membership)
        if had is not None and rights.role is None and not rights.collections:
            self._session.delete(membership)
            self._session.flush()

    def grant(self, user_id: str, collection_id: str, role: Role | None) -> MemberRow:
        """Give a member a role in one collection, or take it. What the workspace's role allows stays.

        Raises NotFound (`member_not_found`, `collection_not_found`).
        """
        self.get(user_id)
        Collections(self._session, self._scope).get(collection_id)
        held = self._session.get(CollectionRole, (collection_id, user_id))
        if held is not None and role is None:
            self._session.delete(held)
        elif held is not None and role is not None:
            held.role = role
        elif role is not None:
            self._session.add(CollectionRole(collection_id=collection_id, user_id=user_id, role=role))
        self._session.flush()
        return self.get(user_id)

    def remove(self, user_id: str) -> None:
        """Take a user out of the workspace, with all roles in it. Raises NotFound."""
        self.get(user_id)
        own = select(Collection.id).where(Collection.workspace_id == self._workspace)
        self._session.execute(
            delete(CollectionRole).where(
                CollectionRole.user_id == user_id, CollectionRole.collection_id.in_(own)
            )
        )
        self._session.execute(
            delete(Membership).where(
                Membership.user_id == user_id, Membership.workspace_id == self._workspace
            )
        )

    def _rights(self, membership: Membership) -> Rights:
        query = (
            select(CollectionRole.collection_id, CollectionRole.role)
            .join(Collection, Collection.id == CollectionRole.collection_id)
            .where(Collection.workspace_id == self._workspace, CollectionRole.user_id == membership.user_id)
        )
        held = {row.collection_id: cast(Role, row.role) for row in self._session.execute(query)}
        own, provided = cast("Role | None", membership.role), cast("Role | None", membership.provided)
        return Rights(greater(own, provided), held)
