"""A job from its stored file to a published generation, and every way in which it does not get there."""

from __future__ import annotations

import io
import logging
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import numpy as np
import pypdf
import pytest
from ingesting import Desk, WordEmbedder, tiny_pdf
from sqlalchemy import update

from ingest import drafting, embedding, jobs, queue
from ingest.chunking import Chunk, embedding_text
from ingest.deletion import delete_document
from ingest.drafting import drafts
from ingest.leases import Lease
from ingest.outcomes import Outcome
from ingest.parsers.base import PageSpan, ParsedDocument
from ingest.pipeline import Pipeline, Step
from ingest.uploads import blob_path
from rag.embedders import Embedder
from rag.settings import Settings
from rag.store.repositories import DEFAULT_SCOPE, Changes, Chunks, Documents, Jobs
from rag.store.scope import utc_now
from rag.store.session import Database
from rag.store.tables import IngestJob

LONG = "\n\n".join(f"Paragraph {n} tells of the {n}th day of the long march to the sea." for n in range(400))
STEPS: tuple[Step, ...] = ("leased", "parsed", "written", "embedded", "ready_to_publish")


@pytest.fixture
def desk(database: Database, settings: Settings) -> Desk:
    return Desk(database, settings.model_copy(update={"chunk_tokens": 40}))


def _run(desk: Desk, **options: object) -> Outcome:
    lease = jobs.lease(desk.db, "wrk_test")
    assert lease is not None
    return Pipeline(desk.db, desk.settings, desk.embedder, **options).run(lease)


def _nothing_is_left(desk: Desk) -> None:
    assert {table: desk.rows(table) for table in ("texts", "pages", "chunks")} == {
        "texts": 0,
        "pages": 0,
        "chunks": 0,
    }


def test_a_pdf_becomes_pages_chunks_and_vectors(
    database: Database, settings: Settings, embedder: Embedder
) -> None:
    desk = Desk(database, settings, embedder)
    lines = ["The otter sleeps in the river", "Volcanoes grow on the sea floor", "Bread rises with yeast"]
    accepted = desk.upload(tiny_pdf(lines), "three pages.pdf")
    assert _run(desk) == "done"
    document = desk.get(accepted.document.id)
    assert (document.status, document.generation, document.title) == ("ready", 1, "three pages")
    assert document.media_type == "application/pdf"
    assert (document.pages_done, document.pages_total) == (3, 3)
    assert document.chunks_done == document.chunks_total > 0
    with database.read() as session:
        documents, chunks = Documents(session, DEFAULT_SCOPE), Chunks(session, DEFAULT_SCOPE)
        text = documents.text(document.id)
        assert document.characters == len(text)
        pages = documents.pages(document.id)
        assert [text[page.start : page.end].strip() for page in pages] == lines
        rows = chunks.of_generation(document.id, 1)
        assert [row.start for row in rows] == [0, *[row.end for row in rows[:-1]]]
        assert rows[-1].end == len(text)
        assert (rows[0].page_start, rows[-1].page_end) == (1, 3)
        inputs = [
            embedding_text(Chunk(row.start, row.end, row.headings, row.tokens), text, document.title)
            for row in rows
        ]
        _, vectors = chunks.vectors(document.id, 1)
        again = embedder.embed_passages(inputs)
        assert vectors.shape == (len(rows), embedder.dimension)
        assert np.einsum("nd,nd->n", vectors.astype(np.float32), again).min() > 0.999
        log = Changes(session, DEFAULT_SCOPE).after(desk.collection_id, 0)
        assert [(change.document_id, change.generation, change.kind) for change in log] == [
            (document.id, 1, "publish")
        ]
        assert Jobs(session, DEFAULT_SCOPE).get(accepted.job_id).status == "done"


def test_vectors_belong_to_their_chunks_though_batches_are_sorted(desk: Desk) -> None:
    document_id = desk.upload(LONG.encode(), "long.txt").document.id
    assert _run(desk) == "done"
    with desk.db.read() as session:
        rows = Chunks(session, DEFAULT_SCOPE).of_generation(document_id, 1)
        text = Documents(session, DEFAULT_SCOPE).text(document_id)
    assert len(rows) > 2 * embedding.BATCH
    for row in rows:
        chunk = Chunk(row.start, row.end, row.headings, row.tokens)
        wanted = desk.embedder.embed_query(embedding_text(chunk, text, "long"))
        np.testing.assert_allclose(row.vector, wanted, atol=1e-3)


def _encrypted() -> bytes:
    writer = pypdf.PdfWriter(clone_from=io.BytesIO(tiny_pdf(["secret"])))
    writer.encrypt("password", algorithm="RC4-128")
    out = io.BytesIO()
    writer.write(out)
    return out.getvalue()


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "empty"),
        (b"   \n\n ", "empty"),
        (tiny_pdf(["", ""]), "no_text"),
        (b"\x7fELF\x02\x01\x01" + bytes(100), "unsupported_type"),
        (b"%PDF-1.7\n" + bytes(range(256)) * 20, "corrupt"),
        (_encrypted(), "encrypted"),
    ],
    ids=["empty", "blank", "no_text", "unsupported_type", "corrupt", "encrypted"],
)
def test_a_document_that_can_not_be_read_says_why(desk: Desk, content: bytes, code: str) -> None:
    document_id = desk.upload(content, "x").document.id
    assert _run(desk) == "failed"
    document = desk.get(document_id)
    assert (document.status, document.error_code) == ("failed", code)
    assert document.error_detail
    _nothing_is_left(desk)
    assert queue.seconds_until_due(desk.db) is None, "such a failure is final"


@pytest.mark.parametrize(
    ("limit", "code"),
    [({"parse_timeout_seconds": 0.01}, "timeout"), ({"parse_memory_bytes": 16 << 20}, "out_of_memory")],
)
def test_limits_of_reading_are_those_of_the_settings(
    database: Database, settings: Settings, limit: dict[str, float], code: str
) -> None:
    desk = Desk(database, settings.model_copy(update=limit))
    document_id = desk.upload(b"hello " * 1_000_000, "hello.txt").document.id
    assert _run(desk) == "failed"
    assert desk.get(document_id).error_code == code


class _Troubled(WordEmbedder):
    def __init__(self, error: Exception, times: int) -> None:
        self.error, self.times = error, times

    def embed_passages(self, texts):
        if self.times:
            self.times -= 1
            raise self.error
        return super().embed_passages(texts)


def test_the_unexpected_is_final_and_logged(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    document_id = desk.upload(b"some text").document.id
    desk.embedder = _Troubled(ZeroDivisionError("so it goes"), 1)
    with caplog.at_level(logging.ERROR):
        assert _run(desk) == "failed"
    assert (desk.get(document_id).status, desk.get(document_id).error_code) == ("failed", "internal")
    assert "so it goes" in caplog.text
    assert "Traceback" in caplog.text
    assert "so it goes" not in (desk.get(document_id).error_detail or "")
    _nothing_is_left(desk)


@pytest.mark.parametrize("times", [2, 3])
def test_trouble_that_passes_is_tried_again(desk: Desk, monkeypatch: pytest.MonkeyPatch, times: int) -> None:
    monkeypatch.setattr(jobs, "BACKOFF_SECONDS", (0.0, 0.0))
    document_id = desk.upload(b"some text").document.id
    desk.embedder = _Troubled(OSError("disk trouble"), times)
    # What was parsed stays, so from the second attempt on only the embedding is tried.
    outcomes = [_run(desk) for _ in range(3)]
    document = desk.get(document_id)
    if times == 2:
        assert outcomes == ["postponed", "postponed", "done"]
        assert document.status == "ready"
    else:
        assert outcomes == ["postponed", "postponed", "failed"]
        assert (document.error_code, document.error_detail) == ("internal", "OSError: disk trouble")
        _nothing_is_left(desk)


def test_a_lost_file_and_another_embedder_are_named(desk: Desk) -> None:
    lost = desk.upload(b"lost").document.id
    blob_path(desk.settings, lost).unlink()
    assert _run(desk) == "failed"
    assert desk.get(lost).error_code == "file_missing"
    other = desk.upload(b"other").document.id
    desk.embedder.fingerprint = "words@2"
    assert _run(desk) == "failed"
    assert desk.get(other).error_code == "embedder_mismatch"
    assert "words@1" in (desk.get(other).error_detail or "")


def _during(step: Step, action: Callable[[], object]) -> Callable[[Step], None]:
    pending = [action]

    def on_step(reached: Step) -> None:
        if reached == step and pending:
            pending.pop()()

    return on_step


@pytest.mark.parametrize("step", STEPS)
def test_a_document_deleted_meanwhile_leaves_nothing(desk: Desk, step: Step) -> None:
    document_id = desk.upload(LONG.encode()).document.id
    delete = _during(step, lambda: delete_document(desk.db, desk.settings, DEFAULT_SCOPE, document_id))
    assert _run(desk, on_step=delete) == "lost"
    _nothing_is_left(desk)
    assert (desk.rows("documents"), desk.rows("ingest_jobs"), desk.files()) == (0, 0, set())
    with desk.db.read() as session:
        log = Changes(session, DEFAULT_SCOPE).after(desk.collection_id, 0)
    assert [change.kind for change in log] == ["delete"]


@pytest.mark.parametrize("step", STEPS)
def test_a_document_cancelled_meanwhile_leaves_nothing_and_can_be_retried(desk: Desk, step: Step) -> None:
    document_id = desk.upload(LONG.encode()).document.id
    cancel = _during(step, lambda: jobs.cancel(desk.db, DEFAULT_SCOPE, document_id))
    assert _run(desk, on_step=cancel) == "lost"
    assert desk.get(document_id).status == "cancelled"
    _nothing_is_left(desk)
    jobs.retry(desk.db, DEFAULT_SCOPE, document_id)
    assert _run(desk) == "done"
    assert desk.text(document_id) == LONG


class _Counting(WordEmbedder):
    def __init__(self) -> None:
        self.embedded = 0

    def embed_passages(self, texts):
        self.embedded += len(texts)
        return super().embed_passages(texts)


@pytest.mark.parametrize("step", STEPS)
def test_an_interrupted_job_is_given_back_and_goes_on_where_it_was(desk: Desk, step: Step) -> None:
    desk.embedder = _Counting()
    document_id = desk.upload(LONG.encode()).document.id
    stopping: list[bool] = []
    lease = jobs.lease(desk.db, "wrk_test")
    assert lease is not None
    machinery = Pipeline(
        desk.db, desk.settings, desk.embedder, on_step=_during(step, lambda: stopping.append(True))
    )
    outcome = machinery.run(lease, lambda: bool(stopping))
    if step == "ready_to_publish":
        assert outcome == "done"  # what is left is shorter than giving it back
        return
    assert outcome == "released"
    assert desk.get(document_id).status == "queued"
    assert _run(desk) == "done"
    document = desk.get(document_id)
    assert desk.embedder.embedded == document.chunks_total
    assert desk.text(document_id) == LONG


def test_a_stale_worker_can_not_publish(desk: Desk) -> None:
    document_id = desk.upload(LONG.encode()).document.id
    outcomes: list[Outcome] = []

    def overtake() -> None:
        with desk.db.session() as session:
            session.execute(update(IngestJob).values(lease_until=utc_now() - timedelta(seconds=9)))
        outcomes.append(_run(desk))

    outcomes.append(_run(desk, on_step=_during("ready_to_publish", overtake)))
    assert outcomes == ["done", "lost"]
    with desk.db.read() as session:
        assert len(Changes(session, DEFAULT_SCOPE).after(desk.collection_id, 0)) == 1
    assert desk.get(document_id).generation == 1


def test_progress_is_shown_on_the_way(desk: Desk) -> None:
    document_id = desk.upload(LONG.encode()).document.id
    seen: list[tuple[str, int, int]] = []

    def on_step(_: Step) -> None:
        document = desk.get(document_id)
        seen.append((document.status, document.chunks_done, document.chunks_total))

    assert _run(desk, on_step=on_step) == "done"
    statuses = [status for status, _, _ in seen]
    assert statuses[:3] == ["queued", "parsing", "embedding"]
    assert statuses[-1] == "ready"
    done = [count for status, count, _ in seen if status == "embedding"]
    assert done == sorted(done)
    assert done[0] == 0
    assert 0 < done[1] < seen[-1][2]


def test_nul_is_replaced_by_as_many_characters(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    parsed = ParsedDocument("a\0b and more", (), (), "T\0itle", "text/plain")
    monkeypatch.setattr(drafting, "parse_document", lambda *_: parsed)
    document_id = desk.upload(b"x").document.id
    assert _run(desk) == "done"
    assert desk.text(document_id) == "a\ufffdb and more"
    assert desk.get(document_id).title == "T itle"


def test_the_title_is_the_owners_else_the_documents_else_the_files(desk: Desk) -> None:
    html = b"<html><head><title>Its own title</title></head><body><p>Some text.</p></body></html>"
    expected = {
        desk.upload(html, "a.html").document.id: "Its own title",
        desk.upload(html + b" ", "b.html", title="The owner's").document.id: "The owner's",
        desk.upload(b"Just text", "notes.txt").document.id: "notes",
    }
    while queue.seconds_until_due(desk.db) == 0:
        assert _run(desk) == "done"
    assert {document_id: desk.get(document_id).title for document_id in expected} == expected


def test_pages_of_a_chunk_are_those_of_its_letters() -> None:
    text = "one\n\ntwo\n\nthree\n\n"
    pages = (PageSpan(1, 0, 5), PageSpan(2, 5, 10), PageSpan(3, 10, 17))
    parsed = ParsedDocument(text, pages, (), None, "application/pdf")
    spans = [(0, 5), (0, 7), (3, 9), (3, 17), (8, 10)]
    found = [
        (draft.page_start, draft.page_end)
        for draft in drafts(parsed, [Chunk(start, end, (), 1) for start, end in spans], "T")
    ]
    assert found == [(1, 1), (1, 2), (2, 2), (2, 3), (2, 2)]
    unpaged = ParsedDocument(text, (), (), None, "text/plain")
    assert next(drafts(unpaged, [Chunk(0, 5, (), 1)], "T")).page_start is None


def test_the_file_is_never_found_by_its_name(desk: Desk, tmp_path: Path) -> None:
    (tmp_path / "bait.txt").write_text("bait")
    document_id = desk.upload(b"the upload itself", f"../..{tmp_path}/bait.txt").document.id
    assert _run(desk) == "done"
    assert desk.text(document_id) == "the upload itself"
    assert desk.get(document_id).filename == "bait.txt"


def test_a_lease_for_a_document_that_is_gone_is_lost(desk: Desk) -> None:
    lease = Lease("job_x", "doc_x", desk.collection_id, DEFAULT_SCOPE, 1, 1, "wrk:x")
    assert Pipeline(desk.db, desk.settings, desk.embedder).run(lease) == "lost"
