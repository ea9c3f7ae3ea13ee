"""The table of layouts: which collections are searched in shards, and in which."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Integer
from sqlalchemy.orm import Mapped, mapped_column

from rag.store.tables import Base


class ShardLayout(Base):
    """How a collection is cut into shards (`rag.shards.placement.Layout`); one without a row is not."""

    __tablename__ = "shard_layouts"

    collection_id: Mapped[str] = mapped_column(
        ForeignKey("collections.id", ondelete="CASCADE"), primary_key=True
    )
    workspace_id: Mapped[str] = mapped_column(ForeignKey("workspaces.id", ondelete="CASCADE"))
    version: Mapped[int] = mapped_column(Integer)
    layout: Mapped[dict[str, Any]]
    updated_at: Mapped[datetime]
