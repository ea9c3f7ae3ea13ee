"""What the work on a job writes into the store, step by step, each behind the fence of its lease.

Text, pages and chunks are one step, each batch of vectors another (`embedding`), the publication the last.
Who makes what is written, this process or a machine far away, is nothing that the steps know.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from sqlalchemy.orm import Session

from ingest import jobs
from ingest.drafting import Order
from ingest.errors import ParseError
from ingest.keeping.kv import purge_blocks
from ingest.leases import Lease, LeaseLost, checkpoint, fenced
from ingest.names import choose_title
from ingest.originals.choice import originals_of
from ingest.parsers.base import ParsedDocument
from rag.errors import LongleafError, Unavailable
from rag.settings import Settings
from rag.store.records import ChunkDraft, PageRow
from rag.store.repositories import Collections, Documents, Generations, Versions, Webhooks
from rag.store.session import Database

log = logging.getLogger(__name__)


def is_written(db: Database, lease: Lease) -> bool:
    """Whether the chunks are there, so that nothing need be read again. Raises LeaseLost."""
    with db.read() as session:
        try:
            return Generations(session, lease.scope).progress(lease.document_id, lease.generation)[1] > 0
        except LongleafError as error:
            raise LeaseLost(f"document {lease.document_id} was deleted") from error


def begin_reading(db: Database, lease: Lease, fingerprint: str) -> Order:
    """Note that the file is being read, and return what is to be read.

    Raises LeaseLost; ParseError (`empty`); LongleafError (`embedder_mismatch`) where the collection is bound
    to another embedder than the one with that fingerprint.
    """
    with fenced(db, lease) as session:
        versions = Versions(session, lease.scope)
        versions.advance(lease.document_id, lease.generation, status="parsing")
        version = versions.get(lease.document_id, lease.generation)
        given = Documents(session, lease.scope).get(lease.document_id).meta.get("title")
        collection = Collections(session, lease.scope).get(lease.collection_id)
    if collection.embedder != fingerprint:
        raise LongleafError(
            f"collection {collection.name!r} is bound to the embedder {collection.embedder}, this worker "
            f"has {fingerprint}; set LONGLEAF_EMBEDDER back or use another collection",
            code="embedder_mismatch",
        )
    if version.bytes == 0:
        raise ParseError("empty", "The file has no bytes. Upload a file with content.")
    return Order(version.filename, given)


def note_pages(db: Database, lease: Lease, done: int, total: int | None) -> None:
    """Show how far reading has come. Raises LeaseLost."""
    with fenced(db, lease) as session:
        Versions(session, lease.scope).advance(
            lease.document_id, lease.generation, pages_done=done, pages_total=total or 0
        )


def note_parsed(session: Session, lease: Lease, order: Order, parsed: ParsedDocument) -> None:
    """Note what the file turned out to be, before it is cut. Inside `fenced`."""
    Versions(session, lease.scope).advance(
        lease.document_id,
        lease.generation,
        status="chunking",
        title=order.title(parsed),
        media_type=parsed.media_type,
        pages_done=len(parsed.pages),
        pages_total=len(parsed.pages),
        characters=len(parsed.text),
    )


def write_draft(session: Session, lease: Lease, parsed: ParsedDocument, rows: Sequence[ChunkDraft]) -> None:
    """Write text, pages and chunks, with the vectors that the live generation has; inside `fenced`."""
    generations = Generations(session, lease.scope)
    generations.discard_unpublished(lease.document_id)
    generations.write_text(lease.document_id, lease.generation, parsed.text)
    pages = (PageRow(page.number, page.start, page.end) for page in parsed.pages)
    generations.write_pages(lease.document_id, lease.generation, pages)
    written = generations.write_chunks(lease.document_id, lease.generation, rows)
    reused = generations.reuse_vectors(lease.document_id, lease.generation)
    Versions(session, lease.scope).advance(
        lease.document_id,
        lease.generation,
        status="embedding",
        chunks_done=reused,
        chunks_total=written,
    )
    checkpoint(session, lease)


def publish(session: Session, lease: Lease, fingerprint: str) -> None:
    """End the job and make the generation the live one. Inside `fenced`; the last thing in its transaction.

    Raises Conflict (`duplicate_document`, `embedder_mismatch`).
    """
    jobs.complete(session, lease)
    given = Documents(session, lease.scope).get(lease.document_id).meta.get("title")
    version = Versions(session, lease.scope).get(lease.document_id, lease.generation)
    Generations(session, lease.scope).publish(
        lease.document_id,
        lease.generation,
        title=choose_title(given, version.title, version.filename),
        embedder=fingerprint,
    )
    Webhooks(session, lease.scope).announce(
        "document.ready", lease.document_id, lease.collection_id, generation=lease.generation
    )


def drop_old(db: Database, settings: Settings, lease: Lease) -> None:
    """Remove what older generations left; what a crash leaves is left to `sweep`."""
    if lease.generation == 1:
        return
    try:
        originals_of(db, settings).drop_old(lease.scope, lease.document_id)
        purge_blocks(db, settings, lease.document_id)
    except (OSError, Unavailable) as error:
        log.warning("old files of %s stay until a later start: %s", lease.document_id, error)
