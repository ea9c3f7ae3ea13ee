"""From a key or a cookie to who shows it: the one place that looks for a key in every workspace."""

from __future__ import annotations

import secrets
from dataclasses import replace
from datetime import datetime, timedelta

from sqlalchemy import Row, delete, select, update
from sqlalchemy.orm import Session

from rag.errors import Unauthenticated
from rag.principal import Principal, RateLimits, of_key
from rag.store.identities import Rights
from rag.store.people import ApiKey, KeySecret, SignIn, User, unexpired
from rag.store.repositories.keys import digest, key_record
from rag.store.repositories.members import Members
from rag.store.scope import Scope, utc_now
from rag.store.tables import Workspace

_WRONG = "The key is not valid: it is unknown, was revoked or has expired."
_GONE = "You are no longer signed in; sign in again."


class Credentials:
    """What is shown by who wants to be let in."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def of_key(self, text: str) -> Principal:
        """Who shows a key. Raises Unauthenticated (`invalid_key`)."""
        now = utc_now()
        query = (
            _VALID_KEYS.join(KeySecret, KeySecret.key_id == ApiKey.id)
            .where(KeySecret.hash == digest(text), unexpired(KeySecret.expires_at, now))
            .where(unexpired(ApiKey.expires_at, now))
        )
        return self._holder(self._session.execute(query).one_or_none())

    def of_cookie(self, text: str) -> Principal:
        """Who is signed in. Raises Unauthenticated (`signed_out`)."""
        held = self._session.get(SignIn, digest(text))
        if held is None or held.expires_at <= utc_now():
            raise Unauthenticated(_GONE, code="signed_out")
        if held.key_id is not None:
            query = _VALID_KEYS.where(ApiKey.id == held.key_id, unexpired(ApiKey.expires_at, utc_now()))
            return self._holder(self._session.execute(query).one_or_none())
        user = self._session.get(User, held.user_id)
        rights = Members(self._session, Scope(held.workspace_id)).rights(held.user_id or "")
        if user is None or user.disabled_at is not None or rights is None:
            raise Unauthenticated(_GONE, code="signed_out")
        workspace = self._session.get_one(Workspace, held.workspace_id)
        return Principal(
            "user",
            user.id,
            user.name,
            held.workspace_id,
            rights.role,
            rights.collections,
            user.operator,
            workspace_limits=_limits(workspace),
        )

    def sign_in(self, text: str, hours: float) -> tuple[Principal, str, datetime]:
        """Let a browser in that shows a key: who, the cookie's text, and until when it is valid.

        Raises Unauthenticated (`invalid_key`).
        """
        principal = self.of_key(text)
        secret = self._session.get_one(KeySecret, digest(text))
        key = self._session.get_one(ApiKey, secret.key_id)
        now = utc_now()
        ends = (each for each in (secret.expires_at, key.expires_at) if each is not None)
        until = min((now + timedelta(hours=hours), *ends))
        return principal, self._enter(key.workspace_id, until, key_id=key.id), until

    def admit(self, user_id: str, workspace_id: str, hours: float) -> tuple[Principal, str, datetime]:
        """Let a browser in whose user a sign-in service has made known: the same as `sign_in`.

        Raises Unauthenticated (`signed_out`) for who is disabled, or no member of the workspace.
        """
        until = utc_now() + timedelta(hours=hours)
        cookie = self._enter(workspace_id, until, user_id=user_id)
        return self.of_cookie(cookie), cookie, until

    def _enter(
        self, workspace_id: str, until: datetime, *, key_id: str | None = None, user_id: str | None = None
    ) -> str:
        now, cookie = utc_now(), secrets.token_urlsafe(32)
        self._session.execute(delete(SignIn).where(SignIn.expires_at <= now))
        self._session.add(
            SignIn(
                hash=digest(cookie),
                key_id=key_id,
                user_id=user_id,
                workspace_id=workspace_id,
                created_at=now,
                expires_at=until,
            )
        )
        self._session.flush()
        return cookie

    def sign_out(self, text: str) -> None:
        """Make a cookie worthless; one that is so already stays so."""
        self._session.execute(delete(SignIn).where(SignIn.hash == digest(text)))

    def used(self, key_id: str) -> None:
        """Note that a key was used now."""
        self._session.execute(update(ApiKey).where(ApiKey.id == key_id).values(last_used_at=utc_now()))

    def operators(self) -> int:
        """How many valid keys of operators there are."""
        query = select(ApiKey.id).where(
            ApiKey.operator.is_(True),
            ApiKey.revoked_at.is_(None),
            unexpired(ApiKey.expires_at, utc_now()),
        )
        return len(self._session.scalars(query).all())

    def _holder(self, found: Row[ApiKey, Workspace] | None) -> Principal:
        """Who a valid key, with its workspace, stands for; nobody where there is none."""
        if found is None:
            raise Unauthenticated(_WRONG, code="invalid_key")
        row, workspace = found
        rights: Rights | None = None
        operator = row.operator
        if row.user_id is not None:
            user = self._session.get_one(User, row.user_id)
            rights = Members(self._session, Scope(row.workspace_id)).rights(user.id)
            if user.disabled_at is not None or rights is None:
                raise Unauthenticated(_WRONG, code="invalid_key")
            operator = operator and user.operator
        principal = of_key(key_record(self._session, row), rights, operator=operator)
        return replace(principal, limits=_limits(row), workspace_limits=_limits(workspace))


_VALID_KEYS = (
    select(ApiKey, Workspace)
    .join(Workspace, Workspace.id == ApiKey.workspace_id)
    .where(ApiKey.revoked_at.is_(None))
)
"""Keys that were not revoked, each with its workspace: to be narrowed to one that has not expired."""


def _limits(row: ApiKey | Workspace) -> RateLimits:
    return RateLimits(row.requests_per_minute, row.tokens_per_minute)
