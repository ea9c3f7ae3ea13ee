"""The desk of a bulk ingest, without a cluster: who may write, and what a loss means for a job."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ingesting import Desk as Uploads
from ingesting import WordEmbedder
from sqlalchemy import text

from api.cluster import ingest_books
from api.cluster.ingest_actors import _embed, embed, file_of, portable
from api.cluster.ingest_books import READING, Books
from api.cluster.ingest_desk import Desk
from api.cluster.ingest_messages import Embedded, Hand, Part
from api.cluster.ingest_plan import Machine, plan
from ingest import jobs
from ingest.blobs import claim_folder
from ingest.drafting import cut, read_file
from ingest.errors import ParseError
from ingest.leases import Lease
from ingest.worker import Worker, recover
from rag.settings import Settings
from rag.store.records import JobRow
from rag.store.repositories import DEFAULT_SCOPE, Chunks, Jobs
from rag.store.session import Database

HERE, THERE = Hand("a", "life1", "node-a"), Hand("b", "life1", "node-b")
BODY = "\n\n".join(
    f"Paragraph {n} tells of the {n}th day of the march to the sea." for n in range(300)
).encode()


class House:
    """One store with a desk whose nodes come and go as a test says."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self.nodes = {"node-a", "node-b"}
        self.settings = settings.model_copy(
            update={"database_url": database.url.render_as_string(hide_password=False), "chunk_tokens": 40}
        )
        self.uploads = Uploads(database, self.settings)
        self.embedder = self.uploads.embedder
        self.desk = self.open()

    def open(self, **options: float) -> Desk:
        desk = Desk(self.settings, self.embedder.fingerprint, 8, lambda: set(self.nodes), **options)
        desk.next_round(1, 8)
        return desk

    def read(self, hand: Hand, desk: Desk | None = None) -> tuple[Part, ...]:
        """Do what a reading actor does with its next turn."""
        desk = desk or self.desk
        turn = desk.take(hand, 1)
        if turn.task is None:
            return turn.parts
        task = turn.task
        parsed = read_file(Path(task.path), task.order, self.settings)
        rows = cut(parsed, task.order, self.embedder.token_spans, self.settings.chunk_tokens)
        return desk.enter(hand, task.lease, task.order, parsed, rows)

    def finish(self, hand: Hand, parts: tuple[Part, ...], desk: Desk | None = None) -> None:
        """Do what an embedding actor does."""
        desk = desk or self.desk
        wanted = desk.claim(hand, [(part.lease, part.number) for part in parts])
        mine = [part for part, is_wanted in zip(parts, wanted, strict=True) if is_wanted]
        desk.store(hand, embed(self.embedder, mine))

    def job(self, document_id: str) -> JobRow:
        with self.uploads.db.read() as session:
            return Jobs(session, DEFAULT_SCOPE).of_document(document_id)

    def publications(self) -> int:
        with self.uploads.db.read() as session:
            return session.scalar(text("SELECT count(*) FROM changes WHERE kind = 'publish'")) or 0

    def vectors(self, document_id: str) -> list[tuple[int, int, bytes]]:
        with self.uploads.db.read() as session:
            rows = Chunks(session, DEFAULT_SCOPE).of_generation(document_id, 1)
        return [(row.start, row.end, np.asarray(row.vector).tobytes()) for row in rows]


@pytest.fixture
def house(database: Database, settings: Settings) -> Iterator[House]:
    opened = House(database, settings)
    yield opened
    opened.desk.close()


def _eventually(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_document_ends_as_a_worker_would_have_it(house: House) -> None:
    one = house.uploads.upload(BODY).document.id
    two = house.uploads.upload(b"a short note").document.id
    bundles = [*house.read(HERE), *house.read(THERE)]
    assert len(bundles) > 2  # the long one is several parts, which come back in any order
    assert house.desk.figures().held == 2
    house.finish(THERE, tuple(reversed(bundles)))
    assert {house.uploads.get(key).status for key in (one, two)} == {"ready"}
    assert house.publications() == 2
    assert house.desk.figures().done == 2
    assert house.desk.take(HERE, 1).state == "wait"
    assert house.desk.take(HERE, 2).state == "end"
    again = house.uploads
    with again.db.session() as session:
        session.execute(text("UPDATE documents SET sha256 = 'other' WHERE id = :id"), {"id": one})
    alike = again.upload(BODY).document.id
    assert Worker(again.db, house.settings, house.embedder).run_until_idle() == 1
    assert house.vectors(one) == house.vectors(alike)


def test_a_lost_node_is_no_attempt_and_costs_nobody_else(house: House) -> None:
    lost = house.uploads.upload(BODY).document.id
    kept = house.uploads.upload(b"a short note").document.id
    parts = house.read(HERE)
    short = house.read(THERE)
    house.finish(HERE, parts[:1])
    house.nodes.discard("node-a")
    _eventually(lambda: house.job(lost).status == "queued")
    assert house.job(lost).attempts == 0
    house.finish(HERE, parts[1:])  # it was not dead after all, and changes nothing
    assert house.uploads.get(lost).status == "queued"
    house.finish(THERE, short)
    assert house.uploads.get(kept).status == "ready"
    _eventually(lambda: bool(_finished(house, THERE, lost)))
    assert house.publications() == 2


def _finished(house: House, hand: Hand, document_id: str) -> bool:
    parts = house.read(hand)
    if parts:
        assert parts[0].lease.document_id == document_id
        assert sum(len(part.keys) for part in parts) < house.uploads.get(document_id).chunks_total
    house.finish(hand, parts)
    return house.uploads.get(document_id).status == "ready"


def test_lost_nodes_alone_never_set_a_document_aside(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "WAIT_SECONDS", (0.0,))
    document_id = house.uploads.upload(b"a short note").document.id
    for number in range(jobs.MAX_ATTEMPTS + 2):
        hand = Hand(f"actor-{number}", "life", f"node-{number}")
        house.nodes.add(hand.node)
        _eventually(lambda hand=hand: house.desk.take(hand, 1).task is not None)
        house.nodes.discard(hand.node)
        _eventually(lambda: house.job(document_id).status == "queued")
    house.finish(HERE, house.read(HERE))
    assert house.uploads.get(document_id).status == "ready"


def test_a_document_that_ends_its_process_each_time_is_set_aside(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "BACKOFF_SECONDS", (0.0, 0.0))
    document_id = house.uploads.upload(b"a short note").document.id
    for life in range(jobs.MAX_ATTEMPTS):
        hand = Hand("actor", f"life-{life}", "node-a")
        _eventually(lambda hand=hand: house.desk.take(hand, 1).task is not None)
        house.desk.hear(Hand("actor", f"life-{life + 1}", "node-a"))  # Ray has started it again
        _eventually(lambda: house.job(document_id).status != "running")
    document = house.uploads.get(document_id)
    assert (document.status, document.error_code) == ("failed", "out_of_memory")


def test_no_more_is_under_way_than_was_allowed(house: House) -> None:
    for number in range(4):
        house.uploads.upload(f"note {number}".encode())
    house.desk.next_round(1, 2)
    first, second = house.desk.take(HERE, 1), house.desk.take(THERE, 1)
    assert (first.state, second.state) == ("task", "task")
    assert house.desk.take(HERE, 1).state == "wait"
    assert first.task is not None
    house.desk.fail(first.task.lease, ParseError("corrupt", "It is torn."))
    assert house.uploads.get(first.task.lease.document_id).error_code == "corrupt"
    assert house.desk.take(HERE, 1).state == "task"


def test_leases_are_kept_as_long_as_somebody_works_and_given_back_at_the_end(house: House) -> None:
    document_id = house.uploads.upload(b"a short note").document.id
    desk = house.open(lease_seconds=1.5)
    assert desk.take(HERE, 1).task is not None
    deadline = time.monotonic() + 3
    while time.monotonic() < deadline:
        assert jobs.lease(house.uploads.db, "wrk_thief") is None
        time.sleep(0.1)
    desk.close()
    job = house.job(document_id)
    assert (job.status, job.attempts) == ("queued", 0)


def test_a_desk_that_died_was_no_attempt(house: House) -> None:
    document_id = house.uploads.upload(b"a short note").document.id
    for _ in range(jobs.MAX_ATTEMPTS + 2):
        lease = jobs.lease(house.uploads.db, f"{jobs.DESK}_gone")
        assert lease is not None
        gone = house.settings.data_dir / "workers" / f"{jobs.DESK}_gone"
        gone.touch()  # nobody holds its lock
        recover(house.uploads.db, house.settings)
    assert house.job(document_id).attempts == 0
    assert Worker(house.uploads.db, house.settings, house.embedder).run_until_idle() == 1


def test_what_an_actor_was_told_to_drop_is_refused_by_the_fence(house: House) -> None:
    document_id = house.uploads.upload(b"a short note").document.id
    (part,) = house.read(HERE)
    jobs.cancel(house.uploads.db, DEFAULT_SCOPE, document_id)
    house.desk.store(HERE, [Embedded(part, house.embedder.embed_passages(part.inputs))])
    assert house.uploads.get(document_id).status == "cancelled"
    assert house.publications() == 0
    assert house.desk.figures().lost == 1


def test_a_node_without_the_folder_reads_a_copy_that_goes_with_it(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.cluster.ingest_desk.PIECE", 1000)
    claim_folder(house.uploads.db, house.settings)
    desk = house.open()
    house.uploads.upload(BODY)
    task = desk.take(HERE, 1).task
    assert task is not None
    starts: list[int] = []

    def piece(start: int) -> bytes:
        starts.append(start)
        return desk.piece(task.lease, start)

    with file_of(task, piece) as path:
        assert (str(path), starts) == (task.path, [])
    with file_of(replace(task, mark="another store"), piece) as path:
        assert path.read_bytes() == BODY
        parsed = read_file(path, task.order, house.settings)
    assert parsed.text == read_file(Path(task.path), task.order, house.settings).text
    assert starts == [*range(0, len(BODY), 1000), len(BODY)]
    assert not path.exists()


def test_books_find_who_is_gone() -> None:
    clock = [0.0]
    books = Books(lambda: clock[0])
    leases = {name: Lease(name, name, "c", DEFAULT_SCOPE, 1, 1, name) for name in ("silent", "lying", "fine")}
    for name, lease in leases.items():
        books.take(lease, Hand(name, "life", "node"))
    books.split(leases["lying"], range(2), "node")
    books.split(leases["fine"], range(2), "node")
    assert books.claim(leases["fine"], 0, HERE)
    books.close(leases["fine"], 1)
    assert not books.claim(leases["fine"], 1, HERE)
    clock[0] = ingest_books.SILENT_SECONDS + 1
    books.hear(HERE)
    assert books.orphans({"node", "node-a"}) == [(leases["silent"], "actor")]
    clock[0] = ingest_books.TRANSIT_SECONDS + 1
    books.hear(HERE)
    assert books.orphans({"node", "node-a"}) == [(leases["lying"], "transit")]
    assert books.counts() == (1, 1)
    assert books.orphans({"node"}) == [(leases["fine"], "node")]
    assert READING not in range(2)


def test_one_bad_part_costs_the_others_nothing() -> None:
    class Picky(WordEmbedder):
        def embed_passages(self, texts):
            if "bad" in texts:
                raise ValueError(texts)
            return super().embed_passages(texts)

    def part(name: str, *inputs: str) -> Part:
        lease = Lease(name, name, "c", DEFAULT_SCOPE, 1, 1, name)
        return Part(lease, 0, tuple(range(len(inputs))), tuple(map(len, inputs)), inputs)

    parts = [part("a", "x y z", "one"), part("b", "bad", "good"), part("c", "two")]
    good = embed(Picky(), parts)
    assert [each.error is None for each in good] == [True, False, True]
    assert isinstance(good[1].error, ValueError)
    assert good[0].vectors is not None
    assert np.array_equal(good[0].vectors, WordEmbedder().embed_passages(["x y z", "one"]))
    assert [len(each.vectors) for each in _embed(WordEmbedder(), parts)] == [2, 2, 1]


def test_errors_reach_the_desk_whole_or_by_name() -> None:
    error = ParseError("encrypted", "It needs a password.")
    assert portable(error) is error

    class Local(Exception):
        pass

    assert str(portable(Local("odd"))) == "Local: odd"


@pytest.mark.parametrize("lost", [1, 2])
def test_after_losses_there_is_room_for_every_actor(lost: int) -> None:
    for cpus in (0.5, 1, 2, 16):
        machines = [Machine(f"n{n}", cpus, 0) for n in range(2 * lost)]
        chosen = plan(machines)
        assert chosen is not None
        asked = chosen.readers * chosen.reader_cpus + chosen.embedders * chosen.embedder_cpus
        assert asked <= (len(machines) - lost) * cpus + 1e-6
        assert chosen.threads <= max(1, cpus)
    with_gpus = plan([Machine("g", 16, 8), Machine("h", 16, 0)])
    assert with_gpus is not None
    assert (with_gpus.embedders, with_gpus.embedder_gpus) == (8, 1.0)
    assert plan([Machine("g", 16, 8)], use_gpus=False).embedder_gpus == 0  # type: ignore[union-attr]
    assert plan([Machine("h", 0, 0)]) is None
