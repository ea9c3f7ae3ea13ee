"""A small file does not wait behind a thousand pages, and a large one does not wait for ever."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
import pytest
from ingesting import Desk, WordEmbedder

from ingest import jobs, worker
from ingest.queue import OLDEST_EVERY, SIZE_CLASSES, is_outranked, priority_of
from ingest.worker import Worker
from rag.settings import Settings
from rag.store.repositories import DEFAULT_SCOPE, Changes
from rag.store.session import Database

LARGE = "\n\n".join(f"Paragraph {n} tells of the {n}th day of the long march." for n in range(3000))


@pytest.fixture
def desk(database: Database, settings: Settings) -> Desk:
    return Desk(database, settings.model_copy(update={"chunk_tokens": 40}))


def published(desk: Desk) -> list[str]:
    with desk.db.read() as session:
        return [change.document_id for change in Changes(session, DEFAULT_SCOPE).after(desk.collection_id, 0)]


@pytest.mark.parametrize(
    ("size", "priority"), [(0, 0), (SIZE_CLASSES[0], 0), (SIZE_CLASSES[0] + 1, 1), (2**31, 3)]
)
def test_the_class_of_a_file_is_by_its_size(size: int, priority: int) -> None:
    assert priority_of(size) == priority


def test_the_smallest_class_is_leased_first_and_the_oldest_now_and_then(desk: Desk) -> None:
    large = desk.upload(b"x" * (SIZE_CLASSES[0] + 1), "large.txt").document.id
    small = [desk.upload(f"small {n}".encode(), f"{n}.txt").document.id for n in range(3)]
    oldest = jobs.lease(desk.db, "wrk_a", turn="oldest")
    assert oldest is not None
    assert oldest.document_id == large
    jobs.release(desk.db, oldest)
    leased = [jobs.lease(desk.db, "wrk_a", turn="smallest") for _ in range(4)]
    assert [each.document_id for each in leased if each] == [*small, large]


def test_only_a_smaller_class_outranks(desk: Desk) -> None:
    desk.upload(b"x" * (SIZE_CLASSES[0] + 1), "large.txt")
    held = jobs.lease(desk.db, "wrk_a")
    assert held is not None
    desk.upload(b"y" * (SIZE_CLASSES[0] + 1), "as large.txt")
    assert not is_outranked(desk.db, held)
    desk.upload(b"small", "small.txt")
    assert is_outranked(desk.db, held)


class Slow(WordEmbedder):
    """Takes its time, and has somebody send a small file after the first batch."""

    def __init__(self) -> None:
        self.desk: Desk | None = None
        self.small = ""
        self.batches = 0

    def embed_passages(self, texts: Sequence[str]) -> np.ndarray:
        self.batches += 1
        if self.desk is not None and not self.small:
            self.small = self.desk.upload(b"A small file.", "small.txt").document.id
        time.sleep(0.05)
        return super().embed_passages(texts)


def test_a_large_document_makes_way_and_keeps_what_is_done(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "QUANTUM_SECONDS", 0.1)
    monkeypatch.setattr(worker, "POLL_SECONDS", 0.05)
    large = desk.upload(LARGE.encode(), "large.txt").document.id
    embedder = Slow()
    embedder.desk = desk
    Worker(desk.db, desk.settings, embedder).run_until_idle()
    assert published(desk) == [embedder.small, large]
    row = desk.get(large)
    assert (row.status, desk.get(embedder.small).status) == ("ready", "ready")
    # nothing was embedded twice: its batches, and the one of the small file
    assert row.chunks_total / 16 <= embedder.batches - 1 <= row.chunks_total / 16 + row.chunks_total / 256 + 1


def test_a_large_document_is_not_put_off_for_ever(desk: Desk) -> None:
    large = desk.upload(b"Large text. " * 8000, "large.txt").document.id
    for number in range(2 * OLDEST_EVERY):
        desk.upload(f"small {number}".encode(), f"{number}.txt")
    Worker(desk.db, desk.settings, desk.embedder).run_until_idle()
    assert published(desk).index(large) < OLDEST_EVERY
