"""The tables of who did what when: a chain for each workspace, each entry with the hash of the one before."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, Integer, String
from sqlalchemy.orm import Mapped, mapped_column

from rag.store.tables import Base


class AuditChain(Base):
    """The end of a workspace's chain. Its lock is held from one entry to the end of its transaction, so that
    the chain never forks.

    Each workspace has its own, so that none sees by the numbers how much is done in the others.
    """

    __tablename__ = "audit_chains"

    workspace_id: Mapped[str] = mapped_column(String(40), primary_key=True)
    seq: Mapped[int] = mapped_column(BigInteger)
    hash: Mapped[str] = mapped_column(String(64))


class AuditEntry(Base):
    """What somebody did, by ids and names of actions: no text of a document, a question or an answer.

    Whose workspace or key it was stays written when that is gone, so nothing here refers to another table.
    """

    __tablename__ = "audit_log"

    workspace_id: Mapped[str] = mapped_column(String(40), primary_key=True)
    seq: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    at: Mapped[datetime]
    actor: Mapped[str] = mapped_column(String(40))
    action: Mapped[str] = mapped_column(String(100))
    target: Mapped[str]
    status: Mapped[int] = mapped_column(Integer)
    request_id: Mapped[str] = mapped_column(String(64))
    hash: Mapped[str] = mapped_column(String(64))
