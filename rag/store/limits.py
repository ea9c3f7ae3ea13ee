"""The table of what is left of allowances, where several processes share them."""

from __future__ import annotations

from sqlalchemy import BigInteger, String
from sqlalchemy.orm import Mapped, mapped_column

from rag.store.tables import Base


class RateBucket(Base):
    """What was left for somebody at a moment; who has no row has all.

    `level` is in thousandths and below 0 after more was used than was left; `at` is in microseconds since
    1970, by the database's clock. On PostgreSQL the table is unlogged: nothing waits for the disk, and after
    a crash everybody has all again.
    """

    __tablename__ = "rate_buckets"

    subject: Mapped[str] = mapped_column(String(40), primary_key=True)
    kind: Mapped[str] = mapped_column(String(20), primary_key=True)
    level: Mapped[int] = mapped_column(BigInteger)
    at: Mapped[int] = mapped_column(BigInteger)
