"""Ingest jobs as their workspace sees them; the transitions are in `ingest.jobs`."""

from __future__ import annotations

from sqlalchemy import select

from rag.errors import NotFound
from rag.store.records import JobRow
from rag.store.scope import Repository
from rag.store.tables import Document, IngestJob


class Jobs(Repository):
    """Jobs of the documents of one workspace."""

    def get(self, job_id: str) -> JobRow:
        """Raises NotFound (`job_not_found`)."""
        row = self._session.scalar(
            select(IngestJob)
            .join(Document, Document.id == IngestJob.document_id)
            .where(
                IngestJob.id == job_id,
                Document.workspace_id == self._workspace,
                self._seen(Document.collection_id),
            )
        )
        if row is None:
            raise NotFound(f"there is no job {job_id!r}", code="job_not_found")
        return job_record(row)

    def of_document(self, document_id: str) -> JobRow:
        """The job of a document's newest generation. Raises NotFound (`document_not_found`)."""
        row = self._session.scalar(
            select(IngestJob)
            .join(Document, Document.id == IngestJob.document_id)
            .where(
                Document.id == document_id,
                Document.workspace_id == self._workspace,
                self._seen(Document.collection_id),
            )
            .order_by(IngestJob.generation.desc(), IngestJob.id.desc())
            .limit(1)
        )
        if row is None:
            raise NotFound(f"there is no document {document_id!r}", code="document_not_found")
        return job_record(row)

    def list(self, *, status: str | None = None, limit: int = 100) -> list[JobRow]:
        """Up to `limit` jobs, oldest first, of one status or all."""
        query = (
            select(IngestJob)
            .join(Document, Document.id == IngestJob.document_id)
            .where(Document.workspace_id == self._workspace, self._seen(Document.collection_id))
        )
        if status is not None:
            query = query.where(IngestJob.status == status)
        return [job_record(row) for row in self._session.scalars(query.order_by(IngestJob.id).limit(limit))]


def job_record(row: IngestJob) -> JobRow:
    """The frozen record of a row."""
    return JobRow(
        row.id,
        row.document_id,
        row.generation,
        row.status,
        row.attempts,
        row.lease_owner,
        row.lease_until,
        row.not_before,
        row.created_at,
        row.updated_at,
        row.priority,
        row.waits,
    )
