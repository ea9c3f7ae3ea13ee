"""Versions of a document: what was sent as each generation, and how far each is."""

from __future__ import annotations

import builtins
from typing import Unpack

from sqlalchemy import delete, func, select, update
from sqlalchemy.exc import IntegrityError

from rag.errors import Conflict, NotFound
from rag.store.records import VersionRow
from rag.store.repositories.documents import Documents, Progress, version_record
from rag.store.scope import Repository, utc_now
from rag.store.tables import Document, Version

VERSIONS_KEPT = 100
"""Of each document; the rows of older ones are dropped when another one comes."""
_ENDED = ("ready", "failed", "cancelled", "superseded")


class Versions(Repository):
    """Versions of the documents of one workspace. Who writes holds the document's lock."""

    def list(self, document_id: str) -> builtins.list[VersionRow]:
        """All that are kept, newest first. Raises NotFound (`document_not_found`)."""
        self._live(document_id)
        query = select(Version).where(Version.document_id == document_id).order_by(Version.generation.desc())
        return [version_record(row) for row in self._session.scalars(query)]

    def get(self, document_id: str, generation: int) -> VersionRow:
        """Raises NotFound (`document_not_found`, `version_not_found`)."""
        self._live(document_id)
        row = self._session.get(Version, (document_id, generation), populate_existing=True)
        if row is None:
            raise NotFound(
                f"document {document_id!r} has no version {generation}, or its row is no longer kept",
                code="version_not_found",
            )
        return version_record(row)

    def newest(self, document_id: str) -> int:
        """The greatest generation that there ever was. Raises NotFound."""
        live = self._live(document_id)
        sent = self._session.scalar(
            select(func.max(Version.generation)).where(Version.document_id == document_id)
        )
        return max(live, sent or 0)

    def shown(self, document_id: str) -> int:
        """The generation whose original is the document's: the live one or, before there is one, the newest.

        Raises NotFound.
        """
        return self._live(document_id) or self.newest(document_id)

    def add(self, document_id: str, *, filename: str, title: str, sha256: str, size: int) -> VersionRow:
        """Enter the next generation, queued; those on their way before it are superseded. Raises NotFound.

        A document that was never live becomes this version at once, with the new file's name and digest; then
        Conflict (`duplicate_document`) is raised for bytes that another one of the collection has.
        """
        live = self._live(document_id)
        generation = self.newest(document_id) + 1
        self.supersede(document_id)
        now = utc_now()
        row = Version(
            document_id=document_id,
            generation=generation,
            sha256=sha256,
            bytes=size,
            filename=filename,
            media_type="application/octet-stream",
            title=title,
            status="queued",
            pages_done=0,
            pages_total=0,
            chunks_done=0,
            chunks_total=0,
            characters=0,
            created_at=now,
            updated_at=now,
        )
        self._session.add(row)
        self._session.flush()
        self._session.execute(
            delete(Version).where(
                Version.document_id == document_id,
                Version.generation <= generation - VERSIONS_KEPT,
                Version.generation != live,
            )
        )
        if live == 0:
            try:
                with self._session.begin_nested():
                    self._session.execute(
                        update(Document)
                        .where(Document.id == document_id)
                        .values(filename=filename, title=title, sha256=sha256, bytes=size)
                    )
            except IntegrityError as error:
                raise Conflict(
                    "another document of the collection has these bytes", code="duplicate_document"
                ) from error
            self._restart(document_id)
        return version_record(row)

    def rename_unread(self, document_id: str, filename: str, title: str) -> None:
        """Let what is newer than the live generation have another name, by which it is read if it ever is.

        Raises NotFound.
        """
        live = self._live(document_id)
        self._session.execute(
            update(Version)
            .where(
                Version.document_id == document_id,
                Version.generation > live,
                Version.status != "superseded",
            )
            .values(filename=filename, title=title)
        )

    def supersede(self, document_id: str) -> builtins.list[int]:
        """Mark what is newer than the live generation as replaced; returns those generations."""
        live = self._live(document_id)
        newer = (
            Version.document_id == document_id,
            Version.generation > live,
            Version.status != "superseded",
        )
        generations = list(self._session.scalars(select(Version.generation).where(*newer)))
        self._session.execute(update(Version).where(*newer).values(status="superseded", updated_at=utc_now()))
        return generations

    def advance(self, document_id: str, generation: int, **values: Unpack[Progress]) -> None:
        """Note how far a generation is; before the first one is live, of the document as well.

        Raises NotFound.
        """
        live = self._live(document_id)
        self._session.execute(
            update(Version)
            .where(Version.document_id == document_id, Version.generation == generation)
            .values(**values, updated_at=utc_now())
        )
        if live == 0:
            Documents(self._session, self._scope).set(document_id, **values)

    def pending_with(self, collection_id: str, sha256: str) -> str | None:
        """The document of the collection that is about to become these bytes, or None."""
        # As a join, SQLite looks at every document of the collection instead of the few with these bytes.
        live_in = (
            select(Document.collection_id)
            .where(
                Document.id == Version.document_id,
                Document.workspace_id == self._workspace,
                Document.generation < Version.generation,
            )
            .scalar_subquery()
        )
        query = (
            select(Version.document_id)
            .where(Version.sha256 == sha256, Version.status.not_in(_ENDED), live_in == collection_id)
            .limit(1)
        )
        return self._session.scalar(query)

    def _restart(self, document_id: str) -> None:
        Documents(self._session, self._scope).set(
            document_id,
            status="queued",
            error_code=None,
            error_detail=None,
            media_type="application/octet-stream",
            pages_done=0,
            pages_total=0,
            chunks_done=0,
            chunks_total=0,
            characters=0,
        )

    def _live(self, document_id: str) -> int:
        """The live generation, 0 before there is one. Raises NotFound."""
        found = self._session.execute(
            select(Document.generation, Document.collection_id).where(
                Document.id == document_id,
                Document.workspace_id == self._workspace,
                self._seen(Document.collection_id),
            )
        ).one_or_none()
        if found is None:
            raise NotFound(f"there is no document {document_id!r}", code="document_not_found")
        self._permit(found.collection_id)
        generation: int = found.generation
        return generation
