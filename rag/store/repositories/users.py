"""Users: people, known in the whole store; what they may do in a workspace is in `members`."""

from __future__ import annotations

import builtins
import re

from sqlalchemy import delete, func, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from rag.errors import Conflict, InvalidRequest, NotFound
from rag.ids import new_id
from rag.store.identities import UserRow
from rag.store.people import Membership, SignIn, User
from rag.store.repositories.workspaces import check_name
from rag.store.scope import utc_now

NAME_LIMIT = 200
_EMAIL = re.compile(r"[^\s@\x00-\x1f\x7f]{1,64}@[^\s@\x00-\x1f\x7f]{1,189}")


class Users:
    """All users of the store."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def list(self) -> builtins.list[UserRow]:
        """All of them, by address; those who are disabled too."""
        return [user_record(row) for row in self._session.scalars(select(User).order_by(User.email))]

    def get(self, user: str) -> UserRow:
        """The user of that id or address. Raises NotFound (`user_not_found`)."""
        row = self._session.scalar(
            select(User).where((User.id == user) | (User.email == user.strip().lower()))
        )
        if row is None:
            raise NotFound(f"There is no user {user[:NAME_LIMIT]!r}.", code="user_not_found")
        return user_record(row)

    def count(self) -> int:
        """How many there are."""
        return self._session.scalar(select(func.count()).select_from(User)) or 0

    def of_identity(self, issuer: str, subject: str) -> UserRow | None:
        """The user whom a sign-in service knows by that subject."""
        row = self._session.scalar(select(User).where(User.issuer == issuer, User.subject == subject))
        return None if row is None else user_record(row)

    def bind(self, email: str, issuer: str, subject: str) -> UserRow | None:
        """The user who was entered by that address, known to the service from now on; None if there is none.

        Raises Conflict (`duplicate_user`) where the address is of somebody whom a service knows already.
        """
        row = self._session.scalar(select(User).where(User.email == email).with_for_update())
        if row is None:
            return None
        if row.subject is not None:
            raise Conflict(
                f"The address {email!r} belongs to a user who signs in as somebody else.",
                code="duplicate_user",
            )
        row.issuer, row.subject = issuer, subject
        self._session.flush()
        return user_record(row)

    def workspaces(self, user_id: str) -> builtins.list[str]:
        """Ids of the workspaces that a user is in, the first joined first."""
        query = (
            select(Membership.workspace_id)
            .where(Membership.user_id == user_id)
            .order_by(Membership.created_at, Membership.workspace_id)
        )
        return [*self._session.scalars(query)]

    def create(
        self,
        email: str | None,
        name: str = "",
        *,
        operator: bool = False,
        issuer: str | None = None,
        subject: str | None = None,
    ) -> UserRow:
        """Enter a person who is a member of nothing yet; without an address for whom a sign-in service knows.

        Raises InvalidRequest (`invalid_email`, `invalid_name`), Conflict (`duplicate_user`).
        """
        identity = new_id("usr")
        # a name under which nothing can ever be delivered (RFC 2606)
        address = f"{identity}@unknown.invalid" if email is None else email.strip().lower()
        if not _EMAIL.fullmatch(address) or not address.isprintable():
            raise InvalidRequest(f"{address[:NAME_LIMIT]!r} is no e-mail address.", code="invalid_email")
        row = User(
            id=identity,
            email=address,
            name=check_name(name or address, NAME_LIMIT),
            issuer=issuer,
            subject=subject,
            operator=operator,
            created_at=utc_now(),
        )
        try:
            with self._session.begin_nested():
                self._session.add(row)
        except IntegrityError as error:
            raise Conflict(f"There is already a user {address!r}.", code="duplicate_user") from error
        return user_record(row)

    def disable(self, user_id: str, *, disabled: bool = True) -> UserRow:
        """Keep a user out, or let them in again; who is kept out loses every sign-in. Raises NotFound."""
        self.get(user_id)
        self._session.execute(
            update(User).where(User.id == user_id).values(disabled_at=utc_now() if disabled else None)
        )
        if disabled:
            self._session.execute(delete(SignIn).where(SignIn.user_id == user_id))
        self._session.expire_all()
        return self.get(user_id)


def user_record(row: User) -> UserRow:
    """The frozen record of a row."""
    return UserRow(
        row.id, row.email, row.name, row.operator, row.created_at, row.disabled_at, row.issuer, row.subject
    )
