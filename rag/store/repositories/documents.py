"""Documents of a workspace, and the live text and pages of each."""

from __future__ import annotations

import builtins
from collections.abc import Iterator, Sequence
from typing import Any, TypedDict, Unpack, cast

from sqlalchemy import CursorResult, Select, and_, delete, func, select, update
from sqlalchemy.exc import IntegrityError

from rag.errors import Conflict, NotFound
from rag.ids import new_id
from rag.store.records import DocumentRow, PageRow, Status, VersionRow, VersionStatus
from rag.store.repositories.collections import Collections
from rag.store.repositories.texts import read_slices
from rag.store.scope import Repository, utc_now
from rag.store.tables import Collection, Document, Page, TextSegment, Version


class Progress(TypedDict, total=False):
    """What changes of a document while it is read."""

    status: Status
    error_code: str | None
    error_detail: str | None
    title: str
    media_type: str
    pages_done: int
    pages_total: int
    chunks_done: int
    chunks_total: int
    characters: int


class Documents(Repository):
    """Documents of one workspace. Text and pages are those of the live generation: "" and none before."""

    def get(self, document_id: str) -> DocumentRow:
        """Raises NotFound (`document_not_found`)."""
        row = self._session.execute(self._rows().where(Document.id == document_id)).one_or_none()
        if row is None:
            raise NotFound(f"there is no document {document_id!r}", code="document_not_found")
        self._permit(row[0].collection_id)
        return document_record(*row)

    def many(self, document_ids: Sequence[str]) -> dict[str, DocumentRow]:
        """Those of the given documents that exist in this workspace, by id."""
        found: dict[str, DocumentRow] = {}
        for first in range(0, len(document_ids), 500):  # SQLite takes a bounded number of parameters
            query = self._rows().where(Document.id.in_(document_ids[first : first + 500]))
            found.update((row[0].id, document_record(*row)) for row in self._session.execute(query))
        return found

    def list(
        self,
        *,
        collection_id: str | None = None,
        status: Status | None = None,
        limit: int = 100,
        before: str | None = None,
    ) -> list[DocumentRow]:
        """Up to `limit` documents, newest first; `before` is the id of the last one of the page before."""
        query = self._rows()
        if collection_id is not None:
            query = query.where(Document.collection_id == collection_id)
        if status is not None:
            query = query.where(Document.status == status)
        if before is not None:
            query = query.where(Document.id < before)
        query = query.order_by(Document.id.desc()).limit(limit)
        return [document_record(*row) for row in self._session.execute(query)]

    def live(self, collection_id: str) -> builtins.list[DocumentRow]:
        """Every document of a collection that can be found by a search, oldest first."""
        query = self._rows().where(Document.collection_id == collection_id, Document.generation > 0)
        return [document_record(*row) for row in self._session.execute(query.order_by(Document.id))]

    def find_by_sha256(self, collection_id: str, sha256: str) -> DocumentRow | None:
        """The document of the collection that has these bytes, or None."""
        query = self._rows().where(Document.collection_id == collection_id, Document.sha256 == sha256)
        row = self._session.execute(query).one_or_none()
        return None if row is None else document_record(*row)

    def add(
        self,
        collection_id: str,
        *,
        title: str,
        filename: str,
        sha256: str,
        size: int,
        meta: dict[str, Any] | None = None,
        document_id: str | None = None,
    ) -> DocumentRow:
        """Enter a queued document of `size` bytes and its first version; the database judges whether the
        bytes are there already.

        Raises Conflict (`duplicate_document`, `existing_document_id`), NotFound (`collection_not_found`).
        """
        collection = Collections(self._session, self._scope).get(collection_id)
        now = utc_now()
        row = Document(
            id=document_id or new_id("doc"),
            workspace_id=self._workspace,
            collection_id=collection_id,
            title=title,
            filename=filename,
            media_type="application/octet-stream",
            sha256=sha256,
            bytes=size,
            meta=meta or {},
            status="queued",
            generation=0,
            pages_done=0,
            pages_total=0,
            chunks_done=0,
            chunks_total=0,
            characters=0,
            created_at=now,
            updated_at=now,
        )
        try:
            with self._session.begin_nested():
                self._session.add(row)
        except IntegrityError as error:
            existing = self.find_by_sha256(collection_id, sha256)
            if existing is not None:
                raise Conflict(
                    f"collection {collection.name!r} already holds these bytes as document {existing.id}",
                    code="duplicate_document",
                    extra={"existing_document_id": existing.id},
                ) from error
            # Not the bytes, so the collection: deleted between the look and the insert.
            raise NotFound(
                f"there is no collection {collection_id!r}", code="collection_not_found"
            ) from error
        names = {column.key for column in Version.__table__.columns} - {"document_id", "generation"}
        values = {name: getattr(row, name) for name in names}
        self._session.add(Version(document_id=row.id, generation=1, **values))
        self._session.flush()
        return document_record(row, collection.name)

    def lock(self, document_id: str) -> DocumentRow:
        """Take the document's row until the transaction ends: first of all locks, then its job, then the log.

        Raises NotFound.
        """
        self._session.execute(
            select(Document.id)
            .where(Document.id == document_id, Document.workspace_id == self._workspace)
            .with_for_update()
        )
        return self.get(document_id)

    def set(self, document_id: str, **values: Unpack[Progress]) -> None:
        """Change status or counters. Raises NotFound."""
        changed = self._session.execute(
            update(Document)
            .where(Document.id == document_id, Document.workspace_id == self._workspace)
            .values(**values, updated_at=utc_now())
        )
        if cast("CursorResult[Any]", changed).rowcount == 0:
            raise NotFound(f"there is no document {document_id!r}", code="document_not_found")

    def describe(
        self, document_id: str, *, meta: dict[str, Any], title: str, filename: str | None = None
    ) -> None:
        """Set what is said of a document beside its content. Raises NotFound."""
        values: dict[str, Any] = {"meta": meta, "title": title, "updated_at": utc_now()}
        if filename is not None:
            values["filename"] = filename
        self.get(document_id)
        self._session.execute(
            update(Document)
            .where(Document.id == document_id, Document.workspace_id == self._workspace)
            .values(values)
        )

    def delete(self, document_id: str) -> None:
        """Delete the row; `ingest.deletion` takes everything that hangs on it first. Raises NotFound."""
        self.get(document_id)
        self._session.execute(
            delete(Document).where(Document.id == document_id, Document.workspace_id == self._workspace)
        )

    def text(self, document_id: str) -> str:
        """The whole canonical text. Raises NotFound."""
        return "".join(self.text_parts(document_id))

    def text_parts(self, document_id: str) -> Iterator[str]:
        """The canonical text in parts of 65,536 code points, for sending without holding it whole.

        Raises NotFound at once, before the first part is asked for.
        """
        generation = self.get(document_id).generation
        query = (
            select(TextSegment.text)
            .where(TextSegment.document_id == document_id, TextSegment.generation == generation)
            .order_by(TextSegment.start)
        )
        return iter(self._session.scalars(query.execution_options(yield_per=4)))

    def text_slices(self, document_id: str, spans: Sequence[tuple[int, int]]) -> builtins.list[str]:
        """`text[start:end]` for each span, in code points, reading only the rows that they touch.

        Spans beyond the end are cut as Python slices are. Raises NotFound.
        """
        return read_slices(self._session, document_id, self.get(document_id).generation, spans)

    def pages(self, document_id: str) -> builtins.list[PageRow]:
        """The pages in order; empty for a format that has none. Raises NotFound."""
        generation = self.get(document_id).generation
        query = (
            select(Page.number, Page.start, Page.end)
            .where(Page.document_id == document_id, Page.generation == generation)
            .order_by(Page.number)
        )
        return [PageRow(*row) for row in self._session.execute(query)]

    def page(self, document_id: str, number: int) -> PageRow:
        """One page, counted from 1. Raises NotFound (`document_not_found`, `page_not_found`)."""
        document = self.get(document_id)
        row = self._session.execute(
            select(Page.number, Page.start, Page.end).where(
                Page.document_id == document_id,
                Page.generation == document.generation,
                Page.number == number,
            )
        ).one_or_none()
        if row is None:
            raise NotFound(
                f"document {document_id!r} has no page {number}, it has {document.pages_total}",
                code="page_not_found",
            )
        return PageRow(*row)

    def count(self, *, collection_id: str | None = None) -> int:
        """How many documents there are, in one collection or all."""
        query = (
            select(func.count())
            .select_from(Document)
            .where(Document.workspace_id == self._workspace, self._seen(Document.collection_id))
        )
        if collection_id is not None:
            query = query.where(Document.collection_id == collection_id)
        return self._session.scalar(query) or 0

    def _rows(self) -> Select[Document, str, Version | None]:
        newer = and_(
            Version.document_id == Document.id,
            Document.generation > 0,
            Version.generation > Document.generation,
            Version.status != "superseded",
        )
        return (
            select(Document, Collection.name, Version)
            .join(Collection, Collection.id == Document.collection_id)
            .outerjoin(Version, newer)
            .where(Document.workspace_id == self._workspace, self._seen(Document.collection_id))
        )


def document_record(row: Document, collection: str, newer: Version | None = None) -> DocumentRow:
    """The frozen record of a row, its collection's name and the version on its way."""
    return DocumentRow(
        id=row.id,
        workspace_id=row.workspace_id,
        collection_id=row.collection_id,
        collection=collection,
        title=row.title,
        filename=row.filename,
        media_type=row.media_type,
        sha256=row.sha256,
        bytes=row.bytes,
        meta=row.meta,
        status=cast(Status, row.status),
        error_code=row.error_code,
        error_detail=row.error_detail,
        generation=row.generation,
        pages_done=row.pages_done,
        pages_total=row.pages_total,
        chunks_done=row.chunks_done,
        chunks_total=row.chunks_total,
        characters=row.characters,
        created_at=row.created_at,
        updated_at=row.updated_at,
        updating=None if newer is None else version_record(newer),
    )


def version_record(row: Version) -> VersionRow:
    """The frozen record of a version's row."""
    return VersionRow(
        document_id=row.document_id,
        generation=row.generation,
        sha256=row.sha256,
        bytes=row.bytes,
        filename=row.filename,
        media_type=row.media_type,
        title=row.title,
        status=cast(VersionStatus, row.status),
        error_code=row.error_code,
        error_detail=row.error_detail,
        pages_done=row.pages_done,
        pages_total=row.pages_total,
        chunks_done=row.chunks_done,
        chunks_total=row.chunks_total,
        characters=row.characters,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )
