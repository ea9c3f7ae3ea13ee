"""A real streaming standby is read as far as it has what is needed, and never shows what is gone."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from api.doctor.finding import Case, Finding
from api.doctor.postgres import replicas as doctored
from rag.index.live import LiveIndexes
from rag.retrieval import Retriever, SearchScope
from rag.settings import Settings
from rag.store import migrate, replicas
from rag.store.opening import open_database
from rag.store.repositories import DEFAULT_SCOPE, Documents
from rag.store.session import BadDatabaseUrl, Database
from tests.ingest.ingesting import WordEmbedder
from tests.rag.filled_store import Library
from tests.store.standby import Pair, standing_by

pytestmark = pytest.mark.timeout(600)
WHERE = text("SELECT pg_is_in_recovery()")


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    with standing_by() as both:
        database = Database(both.primary.url)
        migrate.upgrade(database)
        database.dispose()
        both.settle()
        yield both


@pytest.fixture
def database(pair: Pair, tmp_path: Path) -> Iterator[Database]:
    opened = open_database(
        Settings(
            _env_file=None,
            data_dir=tmp_path,
            database_url=pair.primary.url,
            database_replica_url=pair.standby.url,
        )
    )
    yield opened
    opened.dispose()


class Reader:
    """A process that searches one collection of its own."""

    def __init__(self, database: Database, folder: Path, name: str) -> None:
        self.name = name
        self.embedder = WordEmbedder()
        self.library = Library.open(database, self.embedder, name)
        settings = Settings(_env_file=None, data_dir=folder)
        self._retriever = Retriever(database, LiveIndexes(database, settings), self.embedder)
        self._scope = SearchScope(DEFAULT_SCOPE.workspace_id, self.library.collection_id)

    def found(self, question: str) -> list[str]:
        return [each.text for each in self._retriever.search(question, self._scope)]


@pytest.fixture
def reader(database: Database, tmp_path: Path, request: pytest.FixtureRequest) -> Reader:
    return Reader(database, tmp_path, request.node.name)


def where_read(database: Database, seq: int, **more: float) -> str:
    """`standby` or `primary`, whichever is read for what needs that change."""
    work: Callable[[Session], bool] = lambda session: bool(session.scalar(WHERE))  # noqa: E731
    return "standby" if database.reading(seq, work, **more) else "primary"


def _until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def newest(database: Database) -> int:
    with database.glance() as session:
        return int(session.scalar(text("SELECT change_seq FROM store_state")) or 0)


def test_what_the_standby_has_is_read_there(pair: Pair, database: Database, reader: Reader) -> None:
    reader.library.add("Mill", ["the mill pays rent", "the pond holds fish"])
    pair.settle()
    assert where_read(database, newest(database)) == "standby"
    assert "the mill pays rent" in reader.found("the mill pays rent")
    scans = "SELECT seq_scan + idx_scan FROM pg_stat_user_tables WHERE relname = 'texts'"
    database.dispose()  # a server counts what a session did at its end
    before = pair.primary.ask(scans)
    for _ in range(20):
        assert "the pond holds fish" in reader.found("the pond holds fish")
    database.dispose()
    _until(lambda: (pair.standby.ask(scans) or 0) >= 20)
    assert pair.primary.ask(scans) == before


def test_what_is_published_or_deleted_holds_at_once_while_the_standby_stands_still(
    pair: Pair, database: Database, reader: Reader
) -> None:
    old = reader.library.add("Old", ["the canary sings in the old mill"])
    assert reader.found("canary sings") == ["the canary sings in the old mill"]
    pair.pause()
    try:
        before = newest(database)
        assert where_read(database, before) == "standby"
        reader.library.add("New", ["a heron waits at the new weir"])
        assert where_read(database, newest(database)) == "primary"
        assert "a heron waits at the new weir" in reader.found("heron waits weir")
        reader.library.delete(old)
        for _ in range(5):
            assert reader.found("canary sings old mill") == ["a heron waits at the new weir"]
        # what the standby shows by itself still has it
        assert pair.standby.ask(f"SELECT count(*) FROM documents WHERE id = '{old}'") == 1
        with database.read() as session:
            assert old not in Documents(session, DEFAULT_SCOPE).many([old])
    finally:
        pair.resume()
    assert where_read(database, newest(database), patience=5.0) == "standby"
    assert reader.found("canary sings old mill") == ["a heron waits at the new weir"]


def test_a_process_that_starts_while_the_standby_lags_misses_nothing(
    pair: Pair, database: Database, reader: Reader, tmp_path: Path
) -> None:
    gone = reader.library.add("Gone", ["the otter left"])
    pair.pause()
    try:
        reader.library.add("Here", ["the beaver came"])
        reader.library.delete(gone)
        other = Reader(database, tmp_path / "other", reader.name)
        assert other.found("otter beaver") == ["the beaver came"]
    finally:
        pair.resume()


def test_what_is_read_on_the_standby_after_it_is_let_go_on_is_what_is_there(
    pair: Pair, reader: Reader
) -> None:
    first = reader.library.add("First", ["one swallow"])
    pair.settle()
    reader.library.publish(first, 2, "First", "two swallows")
    assert reader.found("swallows") == ["two swallows"]


def test_an_error_on_the_standby_is_made_good_on_the_primary(database: Database, reader: Reader) -> None:
    reader.library.add("Any", ["anything"])
    seen = []

    def work(session: Session) -> str:
        standby = bool(session.scalar(WHERE))
        seen.append(standby)
        if standby:
            raise KeyError("not there yet")
        return "read"

    assert database.reading(newest(database), work, patience=5.0) == "read"
    assert seen == [True, False]


def test_a_standby_that_stands_still_is_waited_for_once_and_a_dead_one_not_at_all(
    pair: Pair, database: Database, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader.library.add("Still", ["still water"])
    pair.settle()
    assert where_read(database, newest(database)) == "standby"
    monkeypatch.setattr(replicas, "STATEMENT_SECONDS", 0.5)
    monkeypatch.setattr(replicas, "REST_SECONDS", (600.0,))
    frozen = pair.standby.processes()
    for process in frozen:
        process.send_signal(signal.SIGSTOP)
    try:
        assert reader.found("still water") == ["still water"]
        assert where_read(database, newest(database)) == "primary"
        assert database.replicas.all[0]._failures == 1
    finally:
        for process in frozen:
            process.send_signal(signal.SIGCONT)
    database.replicas.all[0]._until = 0.0  # its rest is over
    assert where_read(database, newest(database), patience=5.0) == "standby"
    assert database.replicas.all[0]._failures == 0
    pair.standby.kill()
    try:
        assert reader.found("still water") == ["still water"]
        reader.library.add("Later", ["later rain"])
        assert "later rain" in reader.found("later rain")
        assert database.replicas.all[0]._failures == 1
    finally:
        (pair.standby.data / "postmaster.pid").unlink(missing_ok=True)
        pair.standby.start("-c fsync=off", "-c max_connections=40")
    database.replicas.all[0]._until = 0.0
    pair.settle()
    assert where_read(database, newest(database), patience=5.0) == "standby"


def test_a_copy_of_another_store_is_not_read(pair: Pair, database: Database, reader: Reader) -> None:
    reader.library.add("Own", ["our own"])
    pair.settle()
    database._identity = "store_other"
    assert where_read(database, newest(database), patience=1.0) == "primary"


def test_the_doctor_tells_a_standby_that_follows_from_what_is_none(
    pair: Pair, database: Database, tmp_path: Path
) -> None:
    def look(url: str) -> Finding:
        case = Case(
            Settings(
                _env_file=None, data_dir=tmp_path, database_url=pair.primary.url, database_replica_url=url
            )
        )
        try:
            return doctored(case)
        finally:
            case.close()

    pair.settle()
    assert look(pair.standby.url).verdict == "ok"
    assert look("").verdict == "ok"
    itself = look(f"{pair.standby.url} {pair.primary.url}")
    assert (itself.verdict, "is no standby" in itself.found) == ("failure", True)
    nobody = look(f"postgresql://postgres@/postgres?host={tmp_path}")
    assert (nobody.verdict, "LONGLEAF_DATABASE_REPLICA_URL" in nobody.remedy) == ("warning", True)
    pair.pause()
    try:
        with database.session() as session:
            session.execute(text("UPDATE store_state SET change_seq = change_seq + 1000"))
        behind = look(pair.standby.url)
        assert (behind.verdict, "lacks the last 1000 changes" in behind.found) == ("warning", True)
    finally:
        pair.resume()


def test_replicas_of_sqlite_are_refused(tmp_path: Path, pair: Pair) -> None:
    with pytest.raises(BadDatabaseUrl, match="standbys of a PostgreSQL"):
        Database(f"sqlite:///{tmp_path / 'x.db'}", replicas=[pair.standby.url])
