"""Rows of the store as the API shows them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from api import schemas
from rag.store.records import (
    CollectionRow,
    ConversationRow,
    DocumentRow,
    FeedbackRow,
    LiveChunk,
    Status,
    VersionRow,
)
from rag.store.repositories.audit import AuditRow, Done

if TYPE_CHECKING:
    from ingest.keeping.reembed import Reembedding
    from ingest.updates import Replaced
    from ingest.uploads import Accepted
    from rag.retrieval import Candidate, Looked


def document(row: DocumentRow) -> schemas.Document:
    """A document with its counters."""
    return schemas.Document(
        id=row.id,
        filename=row.filename,
        title=row.title,
        collection=row.collection,
        media_type=row.media_type,
        bytes=row.bytes,
        sha256=row.sha256,
        status=row.status,
        error=_error(row),
        pages_done=row.pages_done,
        pages_total=row.pages_total,
        chunks_done=row.chunks_done,
        chunks_total=row.chunks_total,
        characters=row.characters,
        metadata=row.meta,
        generation=row.generation,
        updating=None if row.updating is None else version(row.updating),
        created_at=row.created_at,
        updated_at=row.updated_at,
    )


def upload(entries: Sequence[Accepted]) -> schemas.Upload:
    """Documents that were taken in, in the order of their files."""
    return schemas.Upload(documents=[_accepted(entry.document, entry.job_id) for entry in entries])


def accepted(row: DocumentRow, job_id: str) -> schemas.Upload:
    """One document that was taken in."""
    return schemas.Upload(documents=[_accepted(row, job_id)])


def _accepted(row: DocumentRow, job_id: str) -> schemas.Accepted:
    return schemas.Accepted(id=row.id, filename=row.filename, status=row.status, job_id=job_id)


def replacement(replaced: Replaced) -> schemas.Update:
    """What became of a new file for a document."""
    entry = schemas.Replacement(
        id=replaced.document.id,
        filename=replaced.filename,
        status=replaced.status,
        job_id=replaced.job_id,
        generation=replaced.generation,
        unchanged=replaced.unchanged,
    )
    return schemas.Update(documents=[entry])


def version(row: VersionRow) -> schemas.DocumentVersion:
    """A version with its counters."""
    return schemas.DocumentVersion(
        generation=row.generation,
        status=row.status,
        error=_error(row),
        filename=row.filename,
        media_type=row.media_type,
        bytes=row.bytes,
        sha256=row.sha256,
        pages_done=row.pages_done,
        pages_total=row.pages_total,
        chunks_done=row.chunks_done,
        chunks_total=row.chunks_total,
        characters=row.characters,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )


def _error(row: DocumentRow | VersionRow) -> schemas.DocumentError | None:
    if row.error_code is None:
        return None
    return schemas.DocumentError(code=row.error_code, detail=row.error_detail or "")


def chunk(row: LiveChunk, text: str) -> schemas.Chunk:
    """A chunk with its text."""
    return schemas.Chunk(
        chunk_id=f"chk_{row.id}",
        ordinal=row.ordinal,
        start_char_index=row.start,
        end_char_index=row.end,
        page_number=row.page_start,
        page_end=row.page_end,
        headings=list(row.headings),
        tokens=row.tokens,
        text=text,
    )


def collection(
    row: CollectionRow, counts: Mapping[Status, int], coming: Reembedding | None = None
) -> schemas.Collection:
    """A collection with the number of its documents, and how far vectors of another embedder are."""
    return schemas.Collection(
        id=row.id,
        name=row.name,
        embedder=row.embedder,
        documents=sum(counts.values()),
        documents_by_status={str(status): count for status, count in counts.items()},
        max_context_tokens=row.max_context_tokens,
        max_documents=row.max_documents,
        max_bytes=row.max_bytes,
        reembedding=None
        if coming is None
        else schemas.Reembedding(
            embedder=coming.embedder, chunks_done=coming.done, chunks_total=coming.total
        ),
        created_at=row.created_at,
    )


def search(looked: Looked) -> schemas.SearchResponse:
    """What a search found, and what of the collection it did not reach."""
    partial = None if looked.partial is None else schemas.Partial.model_validate(looked.partial.as_dict())
    return schemas.SearchResponse(
        results=[search_result(candidate) for candidate in looked.candidates], partial=partial
    )


def search_result(found: Candidate) -> schemas.SearchResult:
    """A chunk that a search returned."""
    return schemas.SearchResult(
        chunk_id=f"chk_{found.chunk_id}",
        document_id=found.document_id,
        document_title=found.document_title,
        filename=found.filename,
        page_number=found.page_start,
        page_end=found.page_end,
        start_char_index=found.start,
        end_char_index=found.end,
        headings=list(found.headings),
        text=found.text,
        score=found.score,
        dense_rank=found.dense_rank,
        dense_score=found.dense_score,
        lexical_rank=found.lexical_rank,
        lexical_score=found.lexical_score,
    )


def audit_entry(row: AuditRow) -> schemas.AuditEntry:
    """An entry of the audit log."""
    done = row.done
    return schemas.AuditEntry(
        seq=row.seq,
        at=row.at,
        workspace=row.workspace_id,
        actor=done.actor,
        action=done.action,
        target=done.target,
        status=done.status,
        request_id=done.request_id,
        previous=row.previous,
        hash=row.hash,
    )


def audit_row(entry: schemas.AuditEntry) -> AuditRow:
    """What an entry was made of."""
    done = Done(entry.actor, entry.action, entry.target, entry.status, entry.request_id)
    return AuditRow(entry.workspace, entry.seq, entry.at, done, entry.previous, entry.hash)


def conversation(row: ConversationRow, owner: str) -> schemas.Conversation:
    """A conversation without its turns, as `owner` sees it."""
    return schemas.Conversation(
        id=row.id,
        title=row.title,
        collection=row.collection,
        own=row.owner == owner,
        shared=row.shared_at is not None,
        turns=row.turns,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )


def feedback(row: FeedbackRow) -> schemas.GivenFeedback:
    """What somebody said of an answer, for those who keep the collection."""
    return schemas.GivenFeedback(
        id=row.id,
        answer_id=row.answer_id,
        question=row.question,
        collection=row.collection,
        by=row.owner,
        correct=row.correct,
        comment=row.comment,
        wrong_citations=list(row.wrong_citations),
        created_at=row.created_at,
        updated_at=row.updated_at,
    )
