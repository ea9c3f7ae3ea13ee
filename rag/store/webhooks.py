"""The tables of webhooks: who wants to be told of what, and what is on its way to them."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ForeignKey, Index, Integer, String
from sqlalchemy.orm import Mapped, mapped_column

from rag.store.tables import Base


class Webhook(Base):
    """An address that is told of a workspace's `events`.

    `secret` signs, so it can't be kept as a hash; `old_secret` signs beside it until `old_until`. One message
    is under way to an address at a time: nobody else sends before `resting_until`.
    """

    __tablename__ = "webhooks"
    __table_args__ = (Index(None, "workspace_id", "id"),)

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    workspace_id: Mapped[str] = mapped_column(ForeignKey("workspaces.id", ondelete="CASCADE"))
    url: Mapped[str] = mapped_column(String(2000))
    events: Mapped[list[str]]
    secret: Mapped[str] = mapped_column(String(100))
    old_secret: Mapped[str | None] = mapped_column(String(100))
    old_until: Mapped[datetime | None]
    created_at: Mapped[datetime]
    created_by: Mapped[str] = mapped_column(String(40))
    disabled_at: Mapped[datetime | None]
    disabled_because: Mapped[str | None] = mapped_column(String(20))
    failing_since: Mapped[datetime | None]
    resting_until: Mapped[datetime | None]


class WebhookDelivery(Base):
    """A message to one address: entered in the transaction that it tells of, so that none is lost or made up.

    `body` is what is signed and sent, to the byte: ids and codes, never a word of a document.
    """

    __tablename__ = "webhook_deliveries"
    __table_args__ = (Index(None, "webhook_id", "id"), Index(None, "status", "not_before"))

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    webhook_id: Mapped[str] = mapped_column(ForeignKey("webhooks.id", ondelete="CASCADE"))
    event: Mapped[str] = mapped_column(String(40))
    document_id: Mapped[str] = mapped_column(String(40))
    body: Mapped[str]
    status: Mapped[str] = mapped_column(String(10))
    attempts: Mapped[int] = mapped_column(Integer)
    not_before: Mapped[datetime]
    answered: Mapped[int | None] = mapped_column(Integer)
    error: Mapped[str | None] = mapped_column(String(30))
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
