"""From a key or a cookie to who shows it: the one place that looks for a key in every workspace."""

from __future__ import annotations

import secrets
from datetime import datetime, timedelta

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from rag.errors import Unauthenticated
from rag.principal import Principal, of_key
from rag.store.identities import Rights
from rag.store.people import ApiKey, KeySecret, SignIn, User
from rag.store.repositories.keys import Keys, digest
from rag.store.repositories.members import Members
from rag.store.scope import Scope, utc_now

_WRONG = "The key is not valid: it is unknown, was revoked or has expired."
_GONE = "You are no longer signed in; sign in again."


class Credentials:
    """What is shown by who wants to be let in."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def of_key(self, text: str) -> Principal:
        """Who shows a key. Raises Unauthenticated (`invalid_key`)."""
        secret = self._session.get(KeySecret, digest(text))
        if secret is None or (secret.expires_at is not None and secret.expires_at <= utc_now()):
            raise Unauthenticated(_WRONG, code="invalid_key")
        return self._holder(secret.key_id)

    def of_cookie(self, text: str) -> Principal:
        """Who is signed in. Raises Unauthenticated (`signed_out`)."""
        held = self._session.get(SignIn, digest(text))
        if held is None or held.expires_at <= utc_now():
            raise Unauthenticated(_GONE, code="signed_out")
        if held.key_id is not None:
            return self._holder(held.key_id)
        user = self._session.get(User, held.user_id)
        rights = Members(self._session, Scope(held.workspace_id)).rights(held.user_id or "")
        if user is None or user.disabled_at is not None or rights is None:
            raise Unauthenticated(_GONE, code="signed_out")
        return Principal(
            "user", user.id, user.name, held.workspace_id, rights.role, rights.collections, user.operator
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
        cookie = secrets.token_urlsafe(32)
        self._session.execute(delete(SignIn).where(SignIn.expires_at <= now))
        self._session.add(
            SignIn(
                hash=digest(cookie),
                key_id=key.id,
                workspace_id=key.workspace_id,
                created_at=now,
                expires_at=until,
            )
        )
        return principal, cookie, until

    def sign_out(self, text: str) -> None:
        """Make a cookie worthless; one that is so already stays so."""
        self._session.execute(delete(SignIn).where(SignIn.hash == digest(text)))

    def used(self, key_id: str) -> None:
        """Note that a key was used now."""
        self._session.execute(update(ApiKey).where(ApiKey.id == key_id).values(last_used_at=utc_now()))

    def operators(self) -> int:
        """How many valid keys of operators there are."""
        now = utc_now()
        query = select(ApiKey.id).where(
            ApiKey.operator.is_(True),
            ApiKey.revoked_at.is_(None),
            (ApiKey.expires_at.is_(None)) | (ApiKey.expires_at > now),
        )
        return len(self._session.scalars(query).all())

    def _holder(self, key_id: str) -> Principal:
        row = self._session.get_one(ApiKey, key_id)
        key = Keys(self._session, Scope(row.workspace_id)).get(key_id)
        if key.revoked_at is not None or (key.expires_at is not None and key.expires_at <= utc_now()):
            raise Unauthenticated(_WRONG, code="invalid_key")
        rights: Rights | None = None
        operator = key.operator
        if key.user_id is not None:
            user = self._session.get_one(User, key.user_id)
            rights = Members(self._session, Scope(row.workspace_id)).rights(user.id)
            if user.disabled_at is not None or rights is None:
                raise Unauthenticated(_WRONG, code="invalid_key")
            operator = operator and user.operator
        return of_key(key, rights, operator=operator)
