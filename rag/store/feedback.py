"""The table of feedback: what people say of the answers that they were given."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Boolean, ForeignKey, Index, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from rag.store.tables import Base, Json


class FeedbackEntry(Base):
    """Whether an answer was right, as one key or person (`owner`) says.

    `comment` is in their own words; `wrong_citations` are numbers of the answer's citations, ascending.
    """

    __tablename__ = "feedback"
    __table_args__ = (
        UniqueConstraint("answer_id", "owner"),
        Index(None, "workspace_id", "id"),
        Index(None, "collection_id"),
    )

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    workspace_id: Mapped[str] = mapped_column(ForeignKey("workspaces.id", ondelete="CASCADE"))
    collection_id: Mapped[str] = mapped_column(ForeignKey("collections.id", ondelete="CASCADE"))
    answer_id: Mapped[str] = mapped_column(ForeignKey("answers.id", ondelete="CASCADE"))
    owner: Mapped[str] = mapped_column(String(40))
    correct: Mapped[bool] = mapped_column(Boolean)
    comment: Mapped[str | None]
    wrong_citations: Mapped[list[int]] = mapped_column(Json)
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
