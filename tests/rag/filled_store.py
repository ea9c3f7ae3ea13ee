"""Puts documents into a store as ingest leaves them, with real vectors."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sqlalchemy import delete

from rag.embedders import Embedder
from rag.store.records import ChunkDraft, PageRow
from rag.store.repositories import DEFAULT_SCOPE, Changes, Chunks, Collections, Documents, Generations, Scope
from rag.store.session import Database
from rag.store.tables import IngestJob


@dataclass
class Library:
    """One collection of a store."""

    db: Database
    embedder: Embedder
    collection_id: str
    scope: Scope = DEFAULT_SCOPE

    @classmethod
    def open(cls, db: Database, embedder: Embedder, name: str = "test") -> Library:
        with db.session() as session:
            collection = Collections(session, DEFAULT_SCOPE).ensure(name, embedder.fingerprint)
        return cls(db, embedder, collection.id)

    def add(self, title: str, paragraphs: Sequence[str], **meta: Any) -> str:
        """Publish a document with a chunk for each paragraph; return its id."""
        text = "\n\n".join(paragraphs)
        with self.db.session() as session:
            row = Documents(session, self.scope).add(
                self.collection_id,
                title=title,
                filename=f"{title}.txt",
                sha256=hashlib.sha256(f"{title}\0{text}".encode()).hexdigest(),
                size=len(text.encode()),
                meta=meta,
            )
        self.publish(row.id, 1, title, text)
        return row.id

    def publish(self, document_id: str, generation: int, title: str, text: str) -> None:
        """Publish a generation of an entered document."""
        spans = [match.span() for match in re.finditer(r"\S(?:.*\S)?", text)]
        vectors = self.embedder.embed_passages([text[a:b] for a, b in spans])
        with self.db.session() as session:
            generations = Generations(session, self.scope)
            generations.write_text(document_id, generation, text)
            generations.write_pages(document_id, generation, [PageRow(1, 0, len(text))])
            generations.write_chunks(
                document_id,
                generation,
                [ChunkDraft(i, a, b, 1, 1, ("Section",), b - a) for i, (a, b) in enumerate(spans)],
            )
            chunks = Chunks(session, self.scope).of_generation(document_id, generation)
            halves = {c.id: v.astype(np.float16) for c, v in zip(chunks, vectors, strict=True)}
            generations.write_vectors(document_id, generation, halves)
            Documents(session, self.scope).set(document_id, title=title, media_type="text/plain")
            generations.publish(document_id, generation)

    def delete(self, document_id: str) -> None:
        """Delete a document as ingest does, without its files."""
        with self.db.session() as session:
            documents = Documents(session, self.scope)
            row = documents.get(document_id)
            Generations(session, self.scope).drop_all(document_id)
            session.execute(delete(IngestJob).where(IngestJob.document_id == document_id))
            documents.delete(document_id)
            Changes(session, self.scope).append(self.collection_id, document_id, row.generation, "delete")
