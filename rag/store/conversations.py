"""The tables of conversations: which answers were given one after the other, to whom."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ForeignKey, Index, Integer, String
from sqlalchemy.orm import Mapped, mapped_column

from rag.store.tables import Base


class Conversation(Base):
    """Questions that one key or person (`owner`) asked of a collection, one leaning on the other.

    Its words are those of its answers, and go with them; `title` is what its owner wrote or asked first.
    """

    __tablename__ = "conversations"
    __table_args__ = (Index(None, "workspace_id", "owner", "id"), Index(None, "collection_id"))

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    workspace_id: Mapped[str] = mapped_column(ForeignKey("workspaces.id", ondelete="CASCADE"))
    collection_id: Mapped[str] = mapped_column(ForeignKey("collections.id", ondelete="CASCADE"))
    owner: Mapped[str] = mapped_column(String(40))
    title: Mapped[str] = mapped_column(String(200))
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    shared_at: Mapped[datetime | None]


class ConversationTurn(Base):
    """An answer as the `number`th of a conversation, from 1."""

    __tablename__ = "conversation_turns"
    __table_args__ = (Index(None, "answer_id"),)

    conversation_id: Mapped[str] = mapped_column(
        ForeignKey("conversations.id", ondelete="CASCADE"), primary_key=True
    )
    number: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    answer_id: Mapped[str] = mapped_column(ForeignKey("answers.id", ondelete="CASCADE"))
