"""One job's way from the stored file to a published generation.

Text, pages and chunks are written in one transaction, then vectors batch by batch, then the generation is
published by one more. A job that is taken up again goes on where the last such step ended.
"""

from __future__ import annotations

import errno
import hashlib
import logging
import time
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Literal

from ingest import jobs
from ingest.blobs import blob_path, drop_old_files
from ingest.chunking import Chunk, chunk_document, embedding_text
from ingest.embedding import Interrupted, embed_chunks
from ingest.errors import ParseCancelled, ParseError, ParserKilled
from ingest.keeping.kv import purge_blocks
from ingest.leases import Lease, LeaseLost, checkpoint, fenced, is_held
from ingest.names import choose_title
from ingest.ocr import find_ocr
from ingest.parsers.base import PageSpan, ParsedDocument
from ingest.sandbox import ParseLimits, parse_document
from rag.embedders.base import Embedder
from rag.errors import LongleafError, Unavailable
from rag.settings import Settings
from rag.store.records import ChunkDraft, PageRow
from rag.store.repositories import Collections, Documents, Generations, Versions, Webhooks
from rag.store.session import Database

log = logging.getLogger(__name__)

PROGRESS_SECONDS = 0.5
MACHINE_TROUBLE = frozenset(
    {
        *(errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EFBIG),
        *(errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN),
    }
)
"""What a document is not to blame for: it waits until the machine may do again."""

Outcome = Literal["done", "failed", "postponed", "released", "lost"]
Step = Literal["leased", "parsed", "written", "embedded", "ready_to_publish", "published"]


class Pipeline:
    """Runs jobs; one instance may run several at once in different threads."""

    def __init__(
        self,
        db: Database,
        settings: Settings,
        embedder: Embedder,
        on_step: Callable[[Step], None] = lambda step: None,  # noqa: ARG005
    ) -> None:
        """`on_step` is called when a step is reached: `embedded` after each batch of vectors."""
        self._db = db
        self._settings = settings
        self._embedder = embedder
        self._on_step = on_step

    def run(
        self,
        lease: Lease,
        interrupted: Callable[[], bool] = lambda: False,
        outranked: Callable[[], bool] = lambda: False,
    ) -> Outcome:
        """Do the job to its end, or as far as it goes; the outcome is in the store when it returns.

        `interrupted` is asked often; once it is true, the job is given back. So it is with `outranked`, which
        is asked only where nothing is lost by it: between batches. Raises Unavailable only when the store
        itself can't be written: then the lease runs out and another attempt follows.
        """
        try:
            return self._attempt(lease, interrupted, outranked)
        except LeaseLost:
            return "lost"

    def _attempt(
        self, lease: Lease, interrupted: Callable[[], bool], outranked: Callable[[], bool]
    ) -> Outcome:
        try:
            self._on_step("leased")
            if not self._is_written(lease):
                self._read(lease, interrupted)
            embed_chunks(
                self._db,
                self._embedder,
                lease,
                lambda: interrupted() or outranked(),
                lambda: self._on_step("embedded"),
            )
            self._on_step("ready_to_publish")
            self._publish(lease)
            self._on_step("published")
            self._drop_old(lease)
            return "done"
        except (ParseCancelled, Interrupted):
            jobs.release(self._db, lease)
            return "released"
        except LeaseLost:
            raise
        except (Unavailable, OSError, MemoryError, ParserKilled) as error:  # what another time may not have
            log.warning("job %s of %s is put off: %s", lease.job_id, lease.document_id, error, exc_info=True)
            if isinstance(error, ParserKilled):
                again = jobs.postpone(self._db, lease, error.detail, code=error.code)
            elif isinstance(error, Unavailable) or getattr(error, "errno", None) in MACHINE_TROUBLE:
                again = jobs.wait(self._db, lease, f"{type(error).__name__}: {error}")
            else:
                again = jobs.postpone(self._db, lease, f"{type(error).__name__}: {error}")
            return "postponed" if again else "failed"
        except LongleafError as error:
            jobs.fail(self._db, lease, error.code, error.detail)
            return "failed"
        except Exception as error:
            log.exception("job %s of document %s failed unexpectedly", lease.job_id, lease.document_id)
            jobs.fail(
                self._db,
                lease,
                "internal",
                f"reading failed unexpectedly ({type(error).__name__}); the server's log says where",
            )
            return "failed"

    def _publish(self, lease: Lease) -> None:
        with fenced(self._db, lease) as session:
            jobs.complete(session, lease)
            given = Documents(session, lease.scope).get(lease.document_id).meta.get("title")
            version = Versions(session, lease.scope).get(lease.document_id, lease.generation)
            Generations(session, lease.scope).publish(
                lease.document_id,
                lease.generation,
                title=choose_title(given, version.title, version.filename),
                embedder=self._embedder.fingerprint,
            )
            Webhooks(session, lease.scope).announce(
                "document.ready", lease.document_id, lease.collection_id, generation=lease.generation
            )

    def _drop_old(self, lease: Lease) -> None:
        """Remove what older generations left on the disk; what a crash leaves is left to `sweep`."""
        if lease.generation == 1:
            return
        try:
            drop_old_files(self._db, self._settings, lease.scope, lease.document_id)
            purge_blocks(self._settings, lease.document_id)
        except (OSError, Unavailable) as error:
            log.warning("old files of %s stay until a later start: %s", lease.document_id, error)

    def _is_written(self, lease: Lease) -> bool:
        with self._db.read() as session:
            try:
                return Generations(session, lease.scope).progress(lease.document_id, lease.generation)[1] > 0
            except LongleafError as error:
                raise LeaseLost(f"document {lease.document_id} was deleted") from error

    def _read(self, lease: Lease, interrupted: Callable[[], bool]) -> None:
        with fenced(self._db, lease) as session:
            versions = Versions(session, lease.scope)
            versions.advance(lease.document_id, lease.generation, status="parsing")
            version = versions.get(lease.document_id, lease.generation)
            given = Documents(session, lease.scope).get(lease.document_id).meta.get("title")
            collection = Collections(session, lease.scope).get(lease.collection_id)
        if collection.embedder != self._embedder.fingerprint:
            raise LongleafError(
                f"collection {collection.name!r} is bound to the embedder {collection.embedder}, this worker "
                f"has {self._embedder.fingerprint}; set LONGLEAF_EMBEDDER back or use another collection",
                code="embedder_mismatch",
            )
        if version.bytes == 0:
            raise ParseError("empty", "The file has no bytes. Upload a file with content.")
        parsed = _storable(self._parse(lease, version.filename, interrupted))
        self._on_step("parsed")
        title = choose_title(given, parsed.title, version.filename)
        with fenced(self._db, lease) as session:
            Versions(session, lease.scope).advance(
                lease.document_id,
                lease.generation,
                status="chunking",
                title=title,
                media_type=parsed.media_type,
                pages_done=len(parsed.pages),
                pages_total=len(parsed.pages),
                characters=len(parsed.text),
            )
        chunks = chunk_document(parsed, self._embedder.token_spans, self._settings.chunk_tokens)
        if interrupted():
            raise Interrupted
        with fenced(self._db, lease) as session:
            generations = Generations(session, lease.scope)
            generations.discard_unpublished(lease.document_id)
            generations.write_text(lease.document_id, lease.generation, parsed.text)
            pages = (PageRow(page.number, page.start, page.end) for page in parsed.pages)
            generations.write_pages(lease.document_id, lease.generation, pages)
            rows = drafts(parsed, chunks, title)
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
        self._on_step("written")

    def _parse(self, lease: Lease, filename: str, interrupted: Callable[[], bool]) -> ParsedDocument:
        told = time.monotonic()

        def on_progress(done: int, total: int | None) -> None:
            nonlocal told
            if time.monotonic() - told < PROGRESS_SECONDS:
                return
            told = time.monotonic()
            with fenced(self._db, lease) as session:
                Versions(session, lease.scope).advance(
                    lease.document_id, lease.generation, pages_done=done, pages_total=total or 0
                )

        limits = ParseLimits(
            seconds=self._settings.parse_timeout_seconds,
            memory_bytes=self._settings.parse_memory_bytes,
            ocr=find_ocr(
                self._settings.ocr, self._settings.ocr_languages, self._settings.ocr_timeout_seconds
            ),
        )
        path = blob_path(self._settings, lease.document_id, lease.generation)
        if not path.exists() and is_held(self._db, lease):
            raise LongleafError(
                f"the file of document {lease.document_id} is missing from the data folder; upload it again",
                code="file_missing",
            )
        return parse_document(path, filename, limits, on_progress, interrupted)


def _storable(parsed: ParsedDocument) -> ParsedDocument:
    """PostgreSQL stores no NUL; the replacement is as long, so every offset stays right."""
    if "\0" not in parsed.text:
        return parsed
    return replace(parsed, text=parsed.text.replace("\0", "\ufffd"))


def drafts(parsed: ParsedDocument, chunks: Sequence[Chunk], title: str) -> Iterator[ChunkDraft]:
    """Chunks with their pages: those of their first and last character that is no white space; for a chunk of
    white space, that of its start. `title` is what they are embedded with."""
    starts = [page.start for page in parsed.pages]
    for ordinal, chunk in enumerate(chunks):
        piece = parsed.text[chunk.start : chunk.end]
        first = chunk.start + (len(piece) - len(piece.lstrip()) if piece.strip() else 0)
        last = max(first, chunk.start + len(piece.rstrip()) - 1)
        yield ChunkDraft(
            ordinal=ordinal,
            start=chunk.start,
            end=chunk.end,
            page_start=_page_at(parsed.pages, starts, first),
            page_end=_page_at(parsed.pages, starts, last),
            headings=tuple(chunk.headings),
            tokens=chunk.tokens,
            digest=hashlib.sha256(embedding_text(chunk, parsed.text, title).encode()).digest(),
        )


def _page_at(pages: Sequence[PageSpan], starts: Sequence[int], position: int) -> int | None:
    if not pages:
        return None
    return pages[max(0, bisect_right(starts, position) - 1)].number
