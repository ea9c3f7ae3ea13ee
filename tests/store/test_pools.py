"""Connections: how many a process takes, what it says when there are none, and a pooler in between."""

from __future__ import annotations

import secrets
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError

from api.app import create_app
from api.doctor.finding import Case, Finding
from api.doctor.postgres import connections
from api.loaders import Loaders
from api.wiring import Service
from rag.errors import Unavailable
from rag.index.live import LiveIndexes
from rag.retrieval import Retriever, SearchScope
from rag.settings import Settings
from rag.store import migrate
from rag.store.opening import open_database
from rag.store.repositories import DEFAULT_SCOPE
from rag.store.session import Database, Pool
from tests.conftest import PostgresServer
from tests.ingest.ingesting import WordEmbedder
from tests.rag.filled_store import Library
from tests.store.pooler import Pooler, pooling

ONE = text("SELECT 1")


@pytest.fixture
def url(postgres_server: PostgresServer) -> Iterator[str]:
    name = f"pool_{secrets.token_hex(6)}"
    yield postgres_server.create(name)
    postgres_server.drop(name)


@pytest.fixture
def few(url: str) -> Iterator[str]:
    """A database that lets a user who is not its owner have two connections."""
    database = Database(url)
    name = database.url.database
    with database.session() as session:
        session.execute(text(f"CREATE ROLE {name} LOGIN CONNECTION LIMIT 2"))
        session.execute(text(f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {name}"))
    yield database.url.set(username=name).render_as_string(hide_password=False)
    with database.session() as session:
        session.execute(text(f"DROP OWNED BY {name} CASCADE"))
        session.execute(
            text("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = :n"),
            {"n": name},
        )
        session.execute(text(f"DROP ROLE {name}"))
    database.dispose()


def test_a_process_takes_no_more_connections_than_it_may_and_says_which_setting_is_short(url: str) -> None:
    database = Database(url, pool=Pool(kept=1, extra=1, wait=0.2))
    with database.read() as one, database.read() as two:
        assert one.scalar(ONE) == two.scalar(ONE) == 1
        with (
            pytest.raises(Unavailable, match="LONGLEAF_DATABASE_POOL_EXTRA") as caught,
            database.read() as more,
        ):
            more.scalar(ONE)
        assert caught.value.code == "database_unavailable"
    with database.read() as again:
        assert again.scalar(ONE) == 1
    assert database.engine.pool.checkedin() == 1  # the extra one is closed
    database.dispose()


def test_a_server_that_has_no_connection_left_is_named(few: str) -> None:
    database = Database(few)
    with database.read() as one, database.read() as two:
        assert one.scalar(ONE) == two.scalar(ONE) == 1
        with pytest.raises(Unavailable, match="max_connections") as caught, database.read() as more:
            more.scalar(ONE)
        assert caught.value.code == "database_unavailable"
        # also where the pool would have to open one for a write, or for a glance
        with pytest.raises(Unavailable, match="max_connections"), database.session() as more:
            more.scalar(ONE)
        with pytest.raises(Unavailable, match="max_connections"), database.glance() as more:
            more.scalar(ONE)
    database.dispose()


def test_requests_beyond_what_postgresql_takes_get_503_and_a_word_when_to_come_again(
    few: str, tmp_path: Path
) -> None:
    settings = Settings(
        _env_file=None, data_dir=tmp_path, database_url=few, allowed_hosts="testserver", ingest_workers=0
    )
    service = Service(settings, Loaders(embedder=lambda _settings: WordEmbedder()))  # type: ignore[arg-type]
    client = TestClient(create_app(settings, service), raise_server_exceptions=False)  # not started
    assert client.get("/documents").status_code == 200
    with service.db.read() as one, service.db.read() as two:
        assert one.scalar(ONE) == two.scalar(ONE) == 1
        answer = client.get("/documents")
    assert answer.status_code == 503, answer.text
    assert answer.json()["code"] == "database_unavailable"
    assert "max_connections" in answer.json()["detail"]
    assert int(answer.headers["retry-after"]) > 0
    assert client.get("/documents").status_code == 200
    service.db.dispose()


def test_the_doctor_names_a_postgresql_with_too_few_connections(few: str, tmp_path: Path) -> None:
    def look(**changed: int) -> Finding:
        case = Case(Settings(_env_file=None, data_dir=tmp_path, database_url=few, **changed))
        try:
            return connections(case)
        finally:
            case.close()

    found = look()
    assert (found.verdict, "has 2 connections" in found.found) == ("failure", True)
    assert "max_connections" in found.remedy
    assert "LONGLEAF_DATABASE_POOL" in found.remedy
    assert look(database_pool=1, database_pool_extra=5).verdict == "warning"
    assert look(database_pool=1, database_pool_extra=0).verdict == "ok"


@pytest.fixture
def pooler(postgres_server: PostgresServer) -> Iterator[Pooler]:
    """Two sessions of a database without any table, shared by all who come."""
    name = f"pooled_{secrets.token_hex(6)}"
    database = Database(postgres_server.create(name, template="template1"))
    host = Path(str(database.url.query["host"]))
    database.dispose()
    with (
        tempfile.TemporaryDirectory() as folder,
        pooling(Path(folder), host / ".s.PGSQL.5432", name) as opened,
    ):
        yield opened
    postgres_server.drop(name)


def test_behind_a_pooler_in_transaction_mode_all_works_as_without(pooler: Pooler, tmp_path: Path) -> None:
    settings = Settings(_env_file=None, data_dir=tmp_path, database_url=pooler.url, database_pooler=True)
    database = open_database(settings)
    migrate.prepare_for_serving(database)
    library = Library.open(database, WordEmbedder(), "pooled")  # type: ignore[arg-type]
    retriever = Retriever(database, LiveIndexes(database, settings), library.embedder)
    scope = SearchScope(DEFAULT_SCOPE.workspace_id, library.collection_id)
    faults: list[BaseException] = []

    def use(number: int) -> None:
        try:
            for turn in range(6):
                title = f"Note {number} {turn}"
                document = library.add(title, [f"heron {number} {turn}", "the weir"])
                assert any(f"heron {number} {turn}" == c.text for c in retriever.search(title, scope, 100))
                library.delete(document)
                assert all(c.document_id != document for c in retriever.search(title, scope, 100))
        except BaseException as error:
            faults.append(error)

    threads = [threading.Thread(target=use, args=(number,)) for number in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
    assert pooler.transactions > 200
    database.dispose()


def test_the_pooler_is_one_that_statements_prepared_in_a_session_do_not_survive(pooler: Pooler) -> None:
    database = Database(pooler.url)  # as without a pooler

    def ask(count: int) -> None:
        for _ in range(count):
            with database.read() as session:
                session.scalar(text("SELECT :n + 1"), {"n": 1})

    with pytest.raises((Unavailable, ProgrammingError), match="prepared statement"):
        ask(40)
    database.dispose()
