"""An installation inside this process, on a clock of its own: it can crash at every named step and go on.

A crash is an exception that nothing in the service may catch: its transaction is rolled back, its files stay
as they are, its lease stays taken, as when the process is killed. What only a real process shows (memory,
sockets, the kernel's locks) is hurt by `python -m tests.faults`.
"""

from __future__ import annotations

import errno
import hashlib
import importlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ingest import jobs
from ingest.deletion import delete_document
from ingest.keeping.gc import collect
from ingest.leases import Lease
from ingest.outcomes import Outcome
from ingest.parsers.base import ParsedDocument, assemble
from ingest.parsers.reading import open_reading
from ingest.pipeline import Pipeline
from ingest.updates import Replaced, replace_file
from ingest.uploads import Accepted, NewDocument, UploadSink, accept
from ingest.worker import recover
from rag.embedders.base import Spans
from rag.index.live import LiveIndexes
from rag.settings import Settings
from rag.store.records import DocumentRow
from rag.store.repositories import DEFAULT_SCOPE, Collections, Documents
from rag.store.session import Database
from tests.faults.points import PIPELINE_STEPS, SERVER_STEPS, WORKER_STEPS

STEPS = {**SERVER_STEPS, **WORKER_STEPS}
UPLOAD_STEPS = [step for step in SERVER_STEPS if step.startswith("upload.")]
UPDATE_STEPS = [step for step in SERVER_STEPS if step.startswith("update.")]
DELETE_STEPS = [step for step in SERVER_STEPS if step.startswith("delete.")]
READING_STEPS = [
    *PIPELINE_STEPS,
    *(step for step in WORKER_STEPS if step.split(".")[0] in {"read", "embed", "publish"}),
]
CHUNK_TOKENS = 32


class Crash(BaseException):
    """The process is no more."""


class Embedder:
    """Hashed words: what the vectors mean matters elsewhere."""

    name, fingerprint, dimension, max_tokens, dtype = "words", "words@1", 8, 512, "float32"

    def token_spans(self, text: str) -> Spans:
        spans, at = [], 0
        for word in text.split():
            at = text.index(word, at)
            spans.append((at, at + len(word)))
            at += len(word)
        return np.array(spans, dtype=np.int64).reshape(-1, 2)

    def embed_passages(self, texts: list[str]) -> Any:
        vectors = np.ones((len(texts), self.dimension), dtype=np.float32)
        for row, passage in enumerate(texts):
            for word in passage.split():
                vectors[row, hashlib.sha256(word.encode()).digest()[0] % self.dimension] += 1
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    embed_queries = embed_passages

    def embed_query(self, text: str) -> Any:
        return self.embed_passages([text])[0]


@contextmanager
def striking(step: str | None, nth: int = 1, error: Callable[[], BaseException] = Crash) -> Iterator[None]:
    """Let a step of `STEPS` raise when it is reached for the nth time; None strikes nowhere."""
    if step is None or step not in STEPS:
        yield
        return
    module, path, when = STEPS[step]
    owner: Any = importlib.import_module(module)
    *outer, name = path.split(".")
    for part in outer:
        owner = getattr(owner, part)
    whole, seen = getattr(owner, name), 0

    def struck(*arguments: Any, **named: Any) -> Any:
        nonlocal seen
        seen += 1
        if when == "before" and seen == nth:
            raise error()
        result = whole(*arguments, **named)
        if when == "after" and seen == nth:
            raise error()
        return result

    setattr(owner, name, struck)
    try:
        yield
    finally:
        setattr(owner, name, whole)


@contextmanager
def prepared() -> Iterator[None]:
    """Read files in this process, and think a few chunks worth a snapshot, as long as it lasts."""

    def read(path: Path, filename: str, *_: object) -> ParsedDocument:
        return assemble(open_reading(path, filename, max_pages=100, max_characters=1_000_000))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ingest.drafting.parse_document", read)
        patch.setattr("rag.index.live.WORTH_SAVING", 1)
        yield


def full_disk() -> BaseException:
    """What a write to a full disk raises."""
    return OSError(errno.ENOSPC, "No space left on device")


class Inside:
    """One store with its folder, and what a server and its workers do with it, step by step."""

    def __init__(self, url: str, folder: Path) -> None:
        self.time = datetime(2026, 3, 1, tzinfo=UTC)
        self.db = Database(url, clock=lambda: self.time)
        self.settings = Settings(_env_file=None, data_dir=folder, chunk_tokens=CHUNK_TOKENS)
        self.embedder: Any = Embedder()
        with self.db.session() as session:
            row = Collections(session, DEFAULT_SCOPE).ensure("default", self.embedder.fingerprint)
        self.collection_id = row.id
        self.indexes = LiveIndexes(self.db, self.settings)

    def wait(self, seconds: float) -> None:
        """Let time go by, or backwards."""
        self.time += timedelta(seconds=seconds)

    def upload(self, content: bytes, filename: str = "note.txt") -> Accepted:
        """Take a document in."""
        with UploadSink(self.settings) as sink:
            sink.write(content)
            new = NewDocument(sink, filename)
            return accept(self.db, self.settings, DEFAULT_SCOPE, self.collection_id, new)

    def replace(self, document_id: str, content: bytes) -> Replaced:
        """Take a new file of a document in."""
        with UploadSink(self.settings) as sink:
            sink.write(content)
            new = NewDocument(sink, "note.txt")
            return replace_file(self.db, self.settings, DEFAULT_SCOPE, document_id, new)

    def delete(self, document_id: str) -> None:
        """Delete a document."""
        delete_document(self.db, self.settings, DEFAULT_SCOPE, document_id, self.indexes.forget)

    def cancel(self, document_id: str) -> None:
        """Cancel a document's ingest."""
        jobs.cancel(self.db, DEFAULT_SCOPE, document_id)

    def retry(self, document_id: str) -> None:
        """Retry a document's ingest."""
        jobs.retry(self.db, DEFAULT_SCOPE, document_id)

    def take(self, worker: str) -> Lease | None:
        """Let a worker take the job whose turn it is."""
        return jobs.lease(self.db, worker)

    def run(
        self, lease: Lease, step: str | None = None, error: Callable[[], BaseException] = Crash
    ) -> Outcome:
        """Let a worker do the job that it took, until a step where the error is raised."""

        def reach(reached: str) -> None:
            if reached == step:
                raise error()

        with striking(step, error=error):
            return Pipeline(self.db, self.settings, self.embedder, reach).run(lease)

    def bury(self, worker: str) -> None:
        """Leave of a worker what a dead one leaves: its file, whose lock nobody holds."""
        folder = self.settings.data_dir / "workers"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / worker).touch()

    def restart(self) -> None:
        """Start anew: clear up, forget what was in memory."""
        self.indexes = LiveIndexes(self.db, self.settings)
        recover(self.db, self.settings)

    def documents(self) -> dict[str, DocumentRow]:
        """All documents, by id."""
        with self.db.read() as session:
            return {row.id: row for row in Documents(session, DEFAULT_SCOPE).list(limit=1000)}

    def text(self, document_id: str) -> str:
        """The canonical text."""
        with self.db.read() as session:
            return Documents(session, DEFAULT_SCOPE).text(document_id)

    def indexed(self) -> dict[str, int]:
        """The generation of each document that a search can find."""
        index = self.indexes.follow(self.collection_id)
        return {key: generation for key, (generation, _) in index.documents.items()}

    def garbage(self) -> list[str]:
        """What a clearing-up would remove."""
        return [f"{found.kind} {found.name}" for found in collect(self.db, self.settings, dry_run=True)]

    def close(self) -> None:
        """Let go of the store."""
        self.db.dispose()
