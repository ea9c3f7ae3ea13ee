"""API keys of one workspace: made, listed, rotated, revoked. Only hashes of their secrets are kept."""

from __future__ import annotations

import builtins
import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from rag.errors import Conflict, NotFound
from rag.ids import ALPHABET, new_id
from rag.roles import Role
from rag.store.identities import KeyRow
from rag.store.people import ApiKey, KeyCollection, KeySecret, SignIn, unexpired
from rag.store.repositories.collections import Collections
from rag.store.repositories.members import Members
from rag.store.repositories.workspaces import check_name
from rag.store.scope import Repository, utc_now

NAME_LIMIT = 200
KEY_MARK = "llf_"
"""What every key begins with, so that one that leaked can be searched for."""
PREFIX_LENGTH = len(KEY_MARK) + 8
_RANDOM = 8 + 52  # 8 characters are shown; 52 of 5 bits are the secret


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key with its secret `text`, which nobody can see again."""

    row: KeyRow
    text: str


class Keys(Repository):
    """Keys of one workspace."""

    def list(self) -> builtins.list[KeyRow]:
        """All of them, newest first; those that were revoked or have expired too."""
        query = select(ApiKey).where(ApiKey.workspace_id == self._workspace).order_by(ApiKey.id.desc())
        return [self._record(row) for row in self._session.scalars(query)]

    def get(self, key_id: str) -> KeyRow:
        """Raises NotFound (`key_not_found`)."""
        return self._record(self._row(key_id))

    def create(
        self,
        name: str,
        role: Role,
        *,
        created_by: str,
        user_id: str | None = None,
        operator: bool = False,
        collections: Sequence[str] | None = None,
        expires_at: datetime | None = None,
        requests_per_minute: int | None = None,
        tokens_per_minute: int | None = None,
    ) -> NewKey:
        """Make a key: with `collections` (ids) for those alone, with `user_id` for what that member may.

        Raises InvalidRequest (`invalid_name`), NotFound (`collection_not_found`, `member_not_found`).
        """
        if user_id is not None:
            Members(self._session, self._scope).get(user_id)
        row = ApiKey(
            id=new_id("key"),
            workspace_id=self._workspace,
            user_id=user_id,
            name=check_name(name, NAME_LIMIT),
            role=role,
            operator=operator,
            every_collection=collections is None,
            created_at=utc_now(),
            created_by=created_by,
            expires_at=expires_at,
            requests_per_minute=requests_per_minute,
            tokens_per_minute=tokens_per_minute,
        )
        self._session.add(row)
        self._session.flush()
        repository = Collections(self._session, self._scope)
        for collection_id in sorted(set(collections or ())):
            repository.get(collection_id)
            self._session.add(KeyCollection(key_id=row.id, collection_id=collection_id))
        text = self._add_secret(row.id)
        return NewKey(self._record(row), text)

    def rotate(self, key_id: str, grace: timedelta) -> NewKey:
        """Give a key another secret; those before are valid for `grace` more.

        Raises NotFound; Conflict (`key_not_valid`) for a key that was revoked or has expired.
        """
        row = self._row(key_id)
        now = utc_now()
        if row.revoked_at is not None or (row.expires_at is not None and row.expires_at <= now):
            raise Conflict(
                f"Key {key_id} was revoked or has expired; make another one.", code="key_not_valid"
            )
        until = now + grace
        self._session.execute(
            update(KeySecret)
            .where(KeySecret.key_id == key_id, unexpired(KeySecret.expires_at, until))
            .values(expires_at=until)
        )
        self._session.execute(
            delete(KeySecret).where(KeySecret.key_id == key_id, KeySecret.expires_at <= now)
        )
        # browsers that signed in with the old secret stay, as long as it would
        self._session.execute(
            update(SignIn).where(SignIn.key_id == key_id, SignIn.expires_at > until).values(expires_at=until)
        )
        text = self._add_secret(key_id)
        return NewKey(self._record(row), text)

    def revoke(self, key_id: str) -> KeyRow:
        """Make a key, and every sign-in with it, invalid from now on. Raises NotFound."""
        row = self._row(key_id)
        if row.revoked_at is None:
            row.revoked_at = utc_now()
        self._session.execute(delete(KeySecret).where(KeySecret.key_id == key_id))
        self._session.execute(delete(SignIn).where(SignIn.key_id == key_id))
        self._session.flush()
        return self._record(row)

    def limit(self, key_id: str, **limits: int | None) -> KeyRow:
        """Set `requests_per_minute`, `tokens_per_minute` or both. Raises NotFound."""
        row = self._row(key_id)
        for name, most in limits.items():
            setattr(row, name, most)
        self._session.flush()
        return self._record(row)

    def _row(self, key_id: str) -> ApiKey:
        row = self._held(ApiKey, key_id)
        if row is None:
            raise NotFound(f"There is no key {key_id[:60]!r}.", code="key_not_found")
        return row

    def _add_secret(self, key_id: str) -> str:
        text = KEY_MARK + "".join(secrets.choice(ALPHABET) for _ in range(_RANDOM))
        self._session.add(
            KeySecret(hash=digest(text), key_id=key_id, prefix=text[:PREFIX_LENGTH], created_at=utc_now())
        )
        self._session.flush()
        return text

    def _record(self, row: ApiKey) -> KeyRow:
        prefixes = (
            select(KeySecret.prefix)
            .where(KeySecret.key_id == row.id, unexpired(KeySecret.expires_at, utc_now()))
            .order_by(KeySecret.created_at.desc())
        )
        return key_record(self._session, row, tuple(self._session.scalars(prefixes)))


def key_record(session: Session, row: ApiKey, prefixes: tuple[str, ...] = ()) -> KeyRow:
    """The frozen record of a row; asks for its collections where it is not for all."""
    only = None
    if not row.every_collection:
        named = select(KeyCollection.collection_id).where(KeyCollection.key_id == row.id)
        only = tuple(sorted(session.scalars(named)))
    return KeyRow(
        id=row.id,
        workspace_id=row.workspace_id,
        user_id=row.user_id,
        name=row.name,
        role=row.role,  # type: ignore[arg-type]
        operator=row.operator,
        collections=only,
        prefixes=prefixes,
        created_at=row.created_at,
        created_by=row.created_by,
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
        last_used_at=row.last_used_at,
        requests_per_minute=row.requests_per_minute,
        tokens_per_minute=row.tokens_per_minute,
    )


def digest(text: str) -> str:
    """What is kept of a key or a cookie: hexadecimal SHA-256."""
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()
