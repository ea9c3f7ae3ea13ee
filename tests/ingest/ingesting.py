"""What the tests of ingest share: a collection to upload into, and an embedder that costs nothing."""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import LargeBinary, select, text

from ingest.uploads import Accepted, NewDocument, UploadSink, accept
from rag.embedders.base import Spans
from rag.settings import Settings
from rag.store.records import DocumentRow
from rag.store.repositories import DEFAULT_SCOPE, Collections, Documents
from rag.store.session import Database
from rag.store.tables import Base


class WordEmbedder:
    """Hashed words, for tests of the machinery around embedding: what the vectors mean matters elsewhere."""

    name = "words"
    fingerprint = "words@1"
    dimension = 8
    max_tokens = 512
    dtype = "float32"

    def token_spans(self, text: str) -> Spans:
        found = [match.span() for match in re.finditer(r"\S+", text)]
        return np.array(found, dtype=np.int64).reshape(-1, 2)

    def embed_passages(self, texts: Sequence[str]) -> np.ndarray:
        vectors = np.zeros((len(texts), self.dimension), dtype=np.float32)
        for row, passage in enumerate(texts):
            for word in passage.split():
                vectors[row, hashlib.sha256(word.encode()).digest()[0] % self.dimension] += 1
        return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)

    embed_queries = embed_passages

    def embed_query(self, text: str) -> np.ndarray:
        return self.embed_passages([text])[0]


class Desk:
    """Uploads into one collection of one store."""

    def __init__(self, db: Database, settings: Settings, embedder: Any = None, name: str = "test") -> None:
        self.db = db
        self.settings = settings
        self.embedder = embedder or WordEmbedder()
        with db.session() as session:
            self.collection_id = (
                Collections(session, DEFAULT_SCOPE).ensure(name, self.embedder.fingerprint).id
            )

    def sink(self, content: bytes) -> UploadSink:
        sink = UploadSink(self.settings)
        try:
            for start in range(0, len(content), 1000):
                sink.write(content[start : start + 1000])
        except BaseException:
            sink.close()
            raise
        return sink

    def upload(
        self, content: bytes, filename: str = "note.txt", *, reuse: bool = False, **metadata: Any
    ) -> Accepted:
        with self.sink(content) as sink:
            new = NewDocument(sink, filename, metadata)
            return accept(self.db, self.settings, DEFAULT_SCOPE, self.collection_id, new, reuse=reuse)

    def get(self, document_id: str) -> DocumentRow:
        with self.db.read() as session:
            return Documents(session, DEFAULT_SCOPE).get(document_id)

    def text(self, document_id: str) -> str:
        with self.db.read() as session:
            return Documents(session, DEFAULT_SCOPE).text(document_id)

    def rows(self, table: str) -> int:
        with self.db.read() as session:
            return session.scalar(text(f"SELECT count(*) FROM {table}")) or 0

    def files(self) -> set[str]:
        """Names of uploads and stored files; the marks of the machinery are left out."""
        return {
            path.name
            for folder in ("blobs", "tmp")
            for path in (self.settings.data_dir / folder).glob("*")
            if not path.name.startswith(".")
        }


def where_found(db: Database, folder: Path, canary: str) -> list[str]:
    """Every table column and every file of the folder that holds the canary, in plain bytes."""
    found = []
    with db.read() as session:
        for table in Base.metadata.sorted_tables:
            for column in table.columns:
                is_bytes = isinstance(column.type, LargeBinary)
                for value in session.scalars(select(column)):
                    held = bytes(value or b"") if is_bytes else str(value).encode()
                    if canary.encode() in held:
                        found.append(f"{table.name}.{column.name}")
    for path in sorted(folder.rglob("*")):
        if path.is_file() and canary.encode() in path.read_bytes():
            found.append(str(path.relative_to(folder)))
    return found


def at_once(*actions: Callable[[], Any]) -> list[Any]:
    """Run the actions in threads that start together; each result is what it returned or raised."""
    barrier = threading.Barrier(len(actions))
    results: list[Any] = [None] * len(actions)

    def run(place: int, action: Callable[[], Any]) -> None:
        barrier.wait()
        try:
            results[place] = action()
        except Exception as error:
            results[place] = error

    threads = [threading.Thread(target=run, args=pair) for pair in enumerate(actions)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def tiny_pdf(pages: Sequence[str], *, size: int = 12, left: int = 72, width: int = 612) -> bytes:
    """A PDF with one line of plain letters on each page; an empty line makes a page without text.

    Lengths are in points: of the letters, of the margin, of the page.
    """
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"",
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    kids = []
    for line in pages:
        stream = f"BT /F1 {size} Tf {left} 720 Td ({line}) Tj ET".encode() if line else b""
        objects.append(b"<< /Length %d >>\nstream\n%s\nendstream" % (len(stream), stream))
        content = len(objects)
        objects.append(
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 %d 792] /Contents %d 0 R"
            b" /Resources << /Font << /F1 3 0 R >> >> >>" % (width, content)
        )
        kids.append(b"%d 0 R" % len(objects))
    objects[1] = b"<< /Type /Pages /Kids [%s] /Count %d >>" % (b" ".join(kids), len(kids))
    out, offsets = b"%PDF-1.4\n", []
    for number, body in enumerate(objects, 1):
        offsets.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    table = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    return out + (
        b"xref\n0 %d\n0000000000 65535 f \n%strailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n"
        % (len(objects) + 1, table, len(objects) + 1, len(out))
    )
