"""Quotas of a workspace: how many documents, and bytes of originals, it may hold."""

from __future__ import annotations

from sqlalchemy import func, select

from rag.errors import Conflict, TooLarge
from rag.settings import Settings
from rag.store.repositories.collections import originals_bytes
from rag.store.scope import Repository
from rag.store.tables import Document, Workspace


class Quotas(Repository):
    """The quotas of one workspace: its own, else those of the settings; 0 is none."""

    def most(self, settings: Settings) -> tuple[int, int]:
        """How many documents and bytes it may hold; 0 for no limit."""
        row = self._session.execute(
            select(Workspace.max_documents, Workspace.max_bytes).where(Workspace.id == self._workspace)
        ).one_or_none()
        documents, size = (None, None) if row is None else row
        return (
            settings.workspace_max_documents if documents is None else documents,
            settings.workspace_max_bytes if size is None else size,
        )

    def lock_if_limited(self, settings: Settings) -> None:
        """Let others who add documents to the workspace wait until this transaction ends, where it has
        quotas: two can't pass one together.

        What locks a collection as well does that first.
        """
        if any(self.most(settings)):
            self._session.execute(
                select(Workspace.id).where(Workspace.id == self._workspace).with_for_update(key_share=True)
            )

    def check(self, settings: Settings) -> None:
        """Look whether what this transaction entered is within the quotas.

        Raises Conflict (`document_quota`), TooLarge (`storage_quota`).
        """
        documents, size = self.most(settings)
        if documents:
            held = self._session.scalar(select(func.count()).where(Document.workspace_id == self._workspace))
            if (held or 0) > documents:
                raise Conflict(
                    f"the workspace would have {held} documents, its quota is {documents}; delete some, or "
                    "ask an operator for more",
                    code="document_quota",
                    extra={"limit": documents},
                )
        if size:
            stored = originals_bytes(self._session, Document.workspace_id == self._workspace)
            if stored > size:
                raise TooLarge(
                    f"the originals of the workspace would have {stored:,} bytes, its quota is {size:,}; "
                    "delete some documents, or ask an operator for more",
                    code="storage_quota",
                    extra={"limit": size},
                )
