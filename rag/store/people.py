"""The tables of who may do what: users and their roles, API keys and their secrets, sign-ins of the page."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Boolean, ColumnElement, ForeignKey, Index, Integer, String, UniqueConstraint
from sqlalchemy.orm import InstrumentedAttribute, Mapped, mapped_column

from rag.store.tables import Base


class User(Base):
    """A person. `issuer` and `subject` are how a sign-in service knows them; before they first came from it
    they are known by `email`, in lower case."""

    __tablename__ = "users"
    __table_args__ = (UniqueConstraint("email"), UniqueConstraint("issuer", "subject"))

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    email: Mapped[str] = mapped_column(String(254))
    name: Mapped[str] = mapped_column(String(200))
    issuer: Mapped[str | None] = mapped_column(String(500))
    subject: Mapped[str | None] = mapped_column(String(255))
    operator: Mapped[bool] = mapped_column(Boolean)
    created_at: Mapped[datetime]
    disabled_at: Mapped[datetime | None]


class Membership(Base):
    """A user in a workspace; `role` is the one in all its collections, NULL where each has its own.

    `provided` is another such, which follows what the sign-in service says of the user; the greater holds.
    """

    __tablename__ = "memberships"
    __table_args__ = (Index(None, "user_id"),)

    workspace_id: Mapped[str] = mapped_column(
        ForeignKey("workspaces.id", ondelete="CASCADE"), primary_key=True
    )
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), primary_key=True)
    role: Mapped[str | None] = mapped_column(String(10))
    created_at: Mapped[datetime]
    provided: Mapped[str | None] = mapped_column(String(10))


class CollectionRole(Base):
    """What a member may do in one collection, where that is more than in the rest of the workspace."""

    __tablename__ = "collection_roles"
    __table_args__ = (Index(None, "user_id"),)

    collection_id: Mapped[str] = mapped_column(
        ForeignKey("collections.id", ondelete="CASCADE"), primary_key=True
    )
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), primary_key=True)
    role: Mapped[str] = mapped_column(String(10))


class ApiKey(Base):
    """What a program shows instead of a person. With a `user_id` it never may do more than that user.

    Unless `every_collection`, it is for those of `key_collections` alone. A limit of NULL is what the
    settings say, and 0 is none.
    """

    __tablename__ = "api_keys"
    __table_args__ = (Index(None, "workspace_id", "id"), Index(None, "user_id"))

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    workspace_id: Mapped[str] = mapped_column(ForeignKey("workspaces.id", ondelete="CASCADE"))
    user_id: Mapped[str | None] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    name: Mapped[str] = mapped_column(String(200))
    role: Mapped[str] = mapped_column(String(10))
    operator: Mapped[bool] = mapped_column(Boolean)
    every_collection: Mapped[bool] = mapped_column(Boolean)
    created_at: Mapped[datetime]
    created_by: Mapped[str] = mapped_column(String(40))
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime | None]
    requests_per_minute: Mapped[int | None] = mapped_column(Integer)
    tokens_per_minute: Mapped[int | None] = mapped_column(Integer)


class KeyCollection(Base):
    """A collection that a key is for."""

    __tablename__ = "key_collections"

    key_id: Mapped[str] = mapped_column(ForeignKey("api_keys.id", ondelete="CASCADE"), primary_key=True)
    collection_id: Mapped[str] = mapped_column(
        ForeignKey("collections.id", ondelete="CASCADE"), primary_key=True
    )


class KeySecret(Base):
    """A secret of a key, as the SHA-256 of the whole key text: 256 random bits need no slower hash.

    A key that was rotated has the old one beside the new until `expires_at`. `prefix` is shown.
    """

    __tablename__ = "key_secrets"
    __table_args__ = (Index(None, "key_id"),)

    hash: Mapped[str] = mapped_column(String(64), primary_key=True)
    key_id: Mapped[str] = mapped_column(ForeignKey("api_keys.id", ondelete="CASCADE"))
    prefix: Mapped[str] = mapped_column(String(20))
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime | None]


class SignIn(Base):
    """A browser that is signed in, by the SHA-256 of its cookie; on behalf of a key or of a user."""

    __tablename__ = "sign_ins"
    __table_args__ = (Index(None, "expires_at"),)

    hash: Mapped[str] = mapped_column(String(64), primary_key=True)
    key_id: Mapped[str | None] = mapped_column(ForeignKey("api_keys.id", ondelete="CASCADE"))
    user_id: Mapped[str | None] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    workspace_id: Mapped[str] = mapped_column(ForeignKey("workspaces.id", ondelete="CASCADE"))
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime]


def unexpired(expires_at: InstrumentedAttribute[datetime | None], moment: datetime) -> ColumnElement[bool]:
    """The condition that something is valid after that moment; without an end it is for ever."""
    return expires_at.is_(None) | (expires_at > moment)
