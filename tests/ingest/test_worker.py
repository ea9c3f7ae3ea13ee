"""Threads that finish what was queued, whoever dies or stops on the way."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from ingesting import Desk, WordEmbedder

from ingest import jobs, leases, worker
from ingest.outcomes import Outcome
from ingest.pipeline import Step
from ingest.queue import Turn
from ingest.worker import Worker
from rag.errors import Unavailable
from rag.settings import Settings
from rag.store.repositories import DEFAULT_SCOPE, Changes, Chunks, Jobs
from rag.store.session import Database

TEXT = "\n\n".join(f"Paragraph {n} tells of the {n}th day of the long march." for n in range(200))
STEPS: tuple[Step, ...] = ("leased", "parsed", "written", "embedded", "ready_to_publish", "published")


@pytest.fixture
def desk(database: Database, settings: Settings) -> Desk:
    return Desk(database, settings.model_copy(update={"chunk_tokens": 40, "ingest_workers": 2}))


def _eventually(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def _publications(desk: Desk) -> list[str]:
    with desk.db.read() as session:
        log = Changes(session, DEFAULT_SCOPE).after(desk.collection_id, 0)
        assert all(change.kind == "publish" for change in log)
        return [change.document_id for change in log]


KILLED = """
import os, sys
from pathlib import Path
sys.path.insert(0, sys.argv[4])
from ingesting import WordEmbedder
from ingest.worker import Worker
from rag.settings import Settings
from rag.store.session import Database
seen = []
def on_step(step):
    seen.append(step)
    # the second batch of vectors, so that there is something to go on from
    if step == sys.argv[3] and (step != "embedded" or seen.count(step) == 2):
        os.kill(os.getpid(), 9)
settings = Settings(_env_file=None, data_dir=Path(sys.argv[2]), chunk_tokens=40)
Worker(Database(sys.argv[1]), settings, WordEmbedder(), on_step=on_step).run_until_idle()
"""


@pytest.mark.parametrize("step", STEPS)
def test_a_process_killed_at_any_step_is_resumed_at_the_next_start(
    database_url: str, settings: Settings, step: Step
) -> None:
    desk = Desk(Database(database_url), settings.model_copy(update={"chunk_tokens": 40}))
    document_id = desk.upload(TEXT.encode()).document.id
    here = Path(__file__).parent
    finished = subprocess.run(
        [sys.executable, "-c", KILLED, database_url, str(settings.data_dir), step, str(here)],
        cwd=here.parents[1],
        check=False,
        timeout=60,
    )
    assert finished.returncode == -9
    assert (desk.get(document_id).status == "ready") == (step == "published")
    embedded_before = desk.get(document_id).chunks_done
    started = time.monotonic()
    assert Worker(desk.db, desk.settings, WordEmbedder()).run_until_idle() == int(step != "published")
    assert time.monotonic() - started < leases.LEASE_SECONDS, "the dead one's lease was waited for"
    document = desk.get(document_id)
    assert (document.status, document.generation) == ("ready", 1)
    assert (embedded_before > 0) == (step in {"embedded", "ready_to_publish", "published"})
    assert desk.text(document_id) == TEXT
    assert _publications(desk) == [document_id]
    with desk.db.read() as session:
        rows = Chunks(session, DEFAULT_SCOPE).of_generation(document_id, 1)
    assert desk.rows("chunks") == len(rows) == document.chunks_total
    assert [row.ordinal for row in rows] == list(range(len(rows)))
    assert all(row.vector is not None for row in rows)
    assert list((settings.data_dir / "workers").iterdir()) == []
    desk.db.dispose()


def test_threads_take_what_is_uploaded_until_they_are_stopped(desk: Desk) -> None:
    published: list[tuple[str, str]] = []
    running = Worker(desk.db, desk.settings, desk.embedder, lambda *pair: published.append(pair))
    before = desk.upload(b"there before the start").document.id
    running.start()
    assert running.alive
    after = desk.upload(b"uploaded while it runs").document.id
    _eventually(lambda: len(published) == 2)
    assert sorted(published) == sorted((desk.collection_id, i) for i in (before, after))
    assert running.stop()
    unread = desk.upload(b"nobody is there").document.id
    assert desk.get(unread).status == "queued"
    running.start()
    with pytest.raises(RuntimeError, match="already"):
        running.start()
    _eventually(lambda: desk.get(unread).status == "ready")
    assert running.stop()


def test_what_this_process_queues_is_taken_at_once(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "POLL_SECONDS", 600.0)
    again = desk.upload(b"not wanted, then wanted").document.id
    jobs.cancel(desk.db, DEFAULT_SCOPE, again)
    running, looked = Worker(desk.db, desk.settings, desk.embedder), threading.Semaphore(0)
    take = running._take

    def watched(owner: str, turn: Turn) -> Outcome | None:
        outcome = take(owner, turn)
        if outcome is None:
            looked.release()
        return outcome

    monkeypatch.setattr(running, "_take", watched)
    running.start()
    for _ in range(2):
        assert looked.acquire(timeout=20), "each thread has found nothing and sleeps"
    uploaded = desk.upload(b"uploaded while they sleep").document.id
    _eventually(lambda: desk.get(uploaded).status == "ready")
    jobs.retry(desk.db, DEFAULT_SCOPE, again)
    _eventually(lambda: desk.get(again).status == "ready")
    assert running.stop()


def test_what_another_process_queues_is_noticed(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "ring_after_commit", lambda _session: None)
    running = Worker(desk.db, desk.settings, desk.embedder)
    running.start()
    document_id = desk.upload(b"found by polling").document.id
    _eventually(lambda: desk.get(document_id).status == "ready")
    assert running.stop()


class _Slow(WordEmbedder):
    """Waits in front of every batch but the first until it may go on."""

    def __init__(self) -> None:
        self.reached, self.go_on = threading.Event(), threading.Event()
        self.calls = 0

    def embed_passages(self, texts):
        self.calls += 1
        if self.calls == 2:
            self.reached.set()
            assert self.go_on.wait(30)
        return super().embed_passages(texts)


def test_a_stop_gives_the_job_back_and_another_goes_on(desk: Desk) -> None:
    slow = _Slow()
    document_id = desk.upload(TEXT.encode()).document.id
    running = Worker(desk.db, desk.settings, slow)
    running.start()
    assert slow.reached.wait(20)
    assert running.stop(timeout=0.1) is False
    slow.go_on.set()
    assert running.stop(timeout=20)
    assert desk.get(document_id).status == "queued"
    assert slow.calls == 2
    with desk.db.read() as session:
        job = Jobs(session, DEFAULT_SCOPE).of_document(document_id)
    assert (job.status, job.lease_owner) == ("queued", None)
    assert Worker(desk.db, desk.settings, desk.embedder).run_until_idle() == 1


def test_a_lease_is_kept_as_long_as_the_work_takes(desk: Desk) -> None:
    slow = _Slow()
    document_id = desk.upload(TEXT.encode()).document.id
    running = Worker(desk.db, desk.settings, slow, lease_seconds=2)
    running.start()
    assert slow.reached.wait(20)
    deadline = time.monotonic() + 3
    while time.monotonic() < deadline:
        assert jobs.lease(desk.db, "wrk_thief") is None
        time.sleep(0.1)
    slow.go_on.set()
    _eventually(lambda: desk.get(document_id).status == "ready")
    assert running.stop()


def test_a_cancel_is_noticed_in_the_middle_of_the_work(desk: Desk) -> None:
    slow = _Slow()
    document_id = desk.upload(TEXT.encode()).document.id
    running = Worker(desk.db, desk.settings, slow)
    running.start()
    assert slow.reached.wait(20)
    jobs.cancel(desk.db, DEFAULT_SCOPE, document_id)
    slow.go_on.set()
    after = desk.upload(b"the next one").document.id
    _eventually(lambda: desk.get(after).status == "ready")
    assert desk.get(document_id).status == "cancelled"
    assert running.stop()
    assert _publications(desk) == [after]


def test_two_workers_do_every_document_once(desk: Desk) -> None:
    ids = {desk.upload(f"note {n}".encode()).document.id for n in range(10)}
    pair = [Worker(desk.db, desk.settings, desk.embedder) for _ in range(2)]
    for running in pair:
        running.start()
    _eventually(lambda: all(desk.get(i).status == "ready" for i in ids), 60)
    assert all(running.stop() for running in pair)
    assert sorted(_publications(desk)) == sorted(ids)


def test_trouble_with_the_store_does_not_end_a_thread(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    real, troubles = jobs.lease, [Unavailable("gone"), RuntimeError("what is this"), Unavailable("gone")]

    def troubled(*arguments, **named):
        if troubles:
            raise troubles.pop()
        return real(*arguments, **named)

    monkeypatch.setattr(jobs, "lease", troubled)
    monkeypatch.setattr(worker, "TROUBLE_SECONDS", 0.05)
    document_id = desk.upload(b"patience").document.id
    running = Worker(desk.db, desk.settings, desk.embedder)
    running.start()
    _eventually(lambda: desk.get(document_id).status == "ready")
    assert running.alive
    assert troubles == []
    assert running.stop()


def test_a_listener_that_fails_harms_nobody(desk: Desk) -> None:
    def listener(*_: str) -> None:
        raise ValueError("not my day")

    ids = [desk.upload(f"note {n}".encode()).document.id for n in range(2)]
    assert Worker(desk.db, desk.settings, desk.embedder, listener).run_until_idle() == 2
    assert {desk.get(i).status for i in ids} == {"ready"}


def test_idle_means_that_what_was_put_off_is_done_too(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "BACKOFF_SECONDS", (0.3, 0.3))
    document_id = desk.upload(b"later").document.id
    lease = jobs.lease(desk.db, "wrk_a")
    assert lease is not None
    jobs.postpone(desk.db, lease, "not now")
    assert Worker(desk.db, desk.settings, desk.embedder).run_until_idle() == 1
    assert desk.get(document_id).status == "ready"


def test_no_threads_are_wanted_where_none_are_set(desk: Desk) -> None:
    none = Worker(desk.db, desk.settings.model_copy(update={"ingest_workers": 0}), desk.embedder)
    none.start()
    assert none.alive
    assert none.stop()
