"""Vectors for the chunks of one generation, batch by batch; what is stored is not embedded again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from sqlalchemy.orm import Session

from ingest.chunking import Chunk, embedding_text
from ingest.leases import Lease, LeaseLost, checkpoint, fenced
from ingest.outcomes import Interrupted
from rag.embedders.base import Embedder
from rag.store.records import ChunkRow, Half
from rag.store.repositories import Collections, Generations, Versions
from rag.store.session import Database

WINDOW = 256
"""Chunks that are sorted by length before they are cut into batches: little padding, bounded memory."""
BATCH = 16


def embed_chunks(
    db: Database,
    embedder: Embedder,
    lease: Lease,
    interrupted: Callable[[], bool] = lambda: False,
    on_batch: Callable[[], None] = lambda: None,
) -> None:
    """Embed the chunks of the lease's generation that have no vector yet; `on_batch` is called after each
    batch is stored.

    Raises LeaseLost, Interrupted, Conflict (`embedder_mismatch`) once the collection has vectors of another
    embedder, and Unavailable when the store can't be written.
    """
    title, done, total = begin_embedding(db, lease)
    last = -1
    while done < total:
        window, texts = bare_chunks(db, lease, after=last)
        if not window:
            raise LeaseLost(f"chunks of {lease.document_id} are gone")
        last = window[-1].ordinal
        for rows, inputs in batches(window, texts, title):
            if interrupted():
                raise Interrupted
            vectors = embedder.embed_passages(inputs)
            done += len(rows)
            with fenced(db, lease) as session:
                found = {row.id: vector for row, vector in zip(rows, vectors, strict=True)}
                write_vectors(session, lease, embedder.fingerprint, found)
                note_embedded(session, lease, done, total)
            on_batch()


def begin_embedding(db: Database, lease: Lease) -> tuple[str, int, int]:
    """Note that vectors are being made; returns the title they are made with, how many there are already, and
    how many there will be. Raises LeaseLost."""
    with fenced(db, lease) as session:
        versions = Versions(session, lease.scope)
        versions.advance(lease.document_id, lease.generation, status="embedding")
        title = versions.get(lease.document_id, lease.generation).title
        done, total = Generations(session, lease.scope).progress(lease.document_id, lease.generation)
    return title, done, total


def bare_chunks(
    db: Database, lease: Lease, *, after: int = -1, limit: int = WINDOW
) -> tuple[list[ChunkRow], list[str]]:
    """The next chunks without a vector, with their texts. Raises NotFound."""
    with db.read() as session:
        generations = Generations(session, lease.scope)
        window = generations.pending(lease.document_id, lease.generation, after=after, limit=limit)
        texts = generations.text_slices(
            lease.document_id, lease.generation, [(row.start, row.end) for row in window]
        )
    return window, texts


def write_vectors(session: Session, lease: Lease, fingerprint: str, vectors: Mapping[int, Half]) -> None:
    """Store vectors by chunk key: progress that survives a crash. Inside `fenced`.

    Raises Conflict (`embedder_mismatch`) once the collection has vectors of another embedder.
    """
    Collections(session, lease.scope).require_embedder(lease.collection_id, fingerprint)
    Generations(session, lease.scope).write_vectors(lease.document_id, lease.generation, vectors)
    checkpoint(session, lease)


def note_embedded(session: Session, lease: Lease, done: int, total: int) -> None:
    """Show how far embedding has come. Inside `fenced`."""
    Versions(session, lease.scope).advance(
        lease.document_id, lease.generation, chunks_done=done, chunks_total=total
    )


def batches(
    window: Sequence[ChunkRow], texts: Sequence[str], title: str
) -> Iterator[tuple[list[ChunkRow], list[str]]]:
    """Chunks of one document in batches of like length, with what is embedded for each."""
    by_length = sorted(range(len(window)), key=lambda place: window[place].tokens)
    for first in range(0, len(by_length), BATCH):
        places = by_length[first : first + BATCH]
        rows = [window[place] for place in places]
        inputs = [embedded_as(row, texts[place], title) for row, place in zip(rows, places, strict=True)]
        yield rows, inputs


def embedded_as(row: ChunkRow, text: str, title: str) -> str:
    """What is embedded for a chunk with that text."""
    return embedding_text(Chunk(0, len(text), row.headings, row.tokens), text, title)
