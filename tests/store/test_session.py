"""URLs, transactions, snapshots and the scrubbing of deleted bytes."""

from __future__ import annotations

import builtins
import secrets
import threading
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import InternalError

from rag.errors import Unavailable
from rag.store.session import BadDatabaseUrl, Database, normalise_url

COUNT = text("SELECT change_seq FROM store_state")
RAISE = text("UPDATE store_state SET change_seq = change_seq + 1")


@pytest.mark.parametrize(
    ("url", "driver"),
    [
        ("postgresql://u:p@h/db", "postgresql+psycopg"),
        ("postgres://u:p@h/db", "postgresql+psycopg"),
        ("postgresql+psycopg://u:p@h/db", "postgresql+psycopg"),
        ("sqlite:////tmp/x.db", "sqlite"),
    ],
)
def test_urls_name_their_driver(url: str, driver: str) -> None:
    assert normalise_url(url).drivername == driver


def test_a_password_survives_normalising() -> None:
    url = normalise_url("postgresql://u:p%40ss@h:5433/db?sslmode=require")
    assert (url.password, url.port, url.query["sslmode"]) == ("p@ss", 5433, "require")


@pytest.mark.parametrize("url", ["mysql://h/db", "sqlite://", "sqlite:///:memory:", "no url", ""])
def test_other_urls_are_refused_with_what_would_do(url: str) -> None:
    with pytest.raises(BadDatabaseUrl, match="sqlite:///"):
        normalise_url(url)


def test_a_missing_psycopg_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name, *rest, **named):
        if name.split(".")[0] == "psycopg":
            raise ModuleNotFoundError("No module named 'psycopg'", name="psycopg")
        return real(name, *rest, **named)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(BadDatabaseUrl, match=r"pip install 'longleaf\[postgres\]'"):
        Database("postgresql://localhost/db")


def test_an_error_rolls_everything_back(database: Database) -> None:
    def fail_half_way() -> None:
        with database.session() as session:
            session.execute(RAISE)
            raise KeyError

    with pytest.raises(KeyError):
        fail_half_way()
    with database.read() as session:
        assert session.scalar(COUNT) == 0


def test_a_reader_keeps_its_snapshot_and_waits_for_nobody(database: Database) -> None:
    with database.read() as reader:
        assert reader.scalar(COUNT) == 0
        with database.session() as writer:
            writer.execute(RAISE)
            assert reader.scalar(COUNT) == 0
        assert reader.scalar(COUNT) == 0
    with database.read() as reader:
        assert reader.scalar(COUNT) == 1


def test_a_reader_can_not_write(database: Database) -> None:
    with pytest.raises((Unavailable, InternalError)), database.read() as session:
        session.execute(RAISE)
    with database.session() as session:  # the pooled connection is writable again
        session.execute(RAISE)


def test_a_glance_sees_what_is_committed_and_leaves_the_connection_to_writers(database: Database) -> None:
    for expected in range(3):
        with database.glance() as session:
            assert session.scalar(COUNT) == expected
        with database.session() as session:
            session.execute(RAISE)


def test_a_glance_on_sqlite_can_not_write_after_a_writer_either(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'x.db'}")
    with database.session() as session:
        session.execute(text("CREATE TABLE notes (body TEXT)"))
    with pytest.raises(Unavailable, match="readonly"), database.glance() as session:
        session.execute(text("INSERT INTO notes VALUES ('no')"))
    with database.session() as session:
        session.execute(text("INSERT INTO notes VALUES ('yes')"))
    with database.glance() as session:
        assert session.scalars(text("SELECT body FROM notes")).all() == ["yes"]
    database.dispose()


def test_a_connection_that_the_server_has_ended_is_not_used(request: pytest.FixtureRequest) -> None:
    postgres_server = request.getfixturevalue("postgres_server")
    name = f"test_{secrets.token_hex(6)}"
    database = Database(postgres_server.create(name))
    mine = text("SELECT pg_backend_pid()")
    with database.read() as session:  # two connections, both given back a moment ago
        session.scalar(mine)
        with database.glance() as other:
            other.scalar(mine)
    others = text(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = :name AND pid <> :own"
    )
    elsewhere = Database(postgres_server.database_url(name))
    with elsewhere.glance() as session:
        found = session.scalars(others, {"name": name, "own": session.scalar(mine)}).all()
    assert found == [True, True]
    with database.read() as session, database.glance() as other:
        assert session.scalar(COUNT) == other.scalar(COUNT) == 0
    for opened in (database, elsewhere):
        opened.dispose()
    postgres_server.drop(name)


def test_writers_of_many_threads_all_get_their_turn(database: Database) -> None:
    faults: list[BaseException] = []

    def write() -> None:
        try:
            for _ in range(20):
                with database.session() as session:
                    session.execute(RAISE)
        except BaseException as error:
            faults.append(error)

    threads = [threading.Thread(target=write) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
    with database.read() as session:
        assert session.scalar(COUNT) == 160


def test_a_database_that_is_gone_is_unavailable(tmp_path: Path) -> None:
    for url in (f"postgresql://nobody@/none?host={tmp_path}", f"sqlite:///{tmp_path}"):
        database = Database(url)
        with pytest.raises(Unavailable) as caught, database.read() as session:
            session.execute(COUNT)
        assert caught.value.code == "database_unavailable"
        database.dispose()


def test_sqlite_is_set_up_for_durability_and_forgetting(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'new' / 'x.db'}")
    with database.read() as session:
        found = {
            name: session.scalar(text(f"PRAGMA {name}"))
            for name in ("journal_mode", "synchronous", "foreign_keys", "secure_delete", "query_only")
        }
    assert found == {
        "journal_mode": "wal",
        "synchronous": 2,
        "foreign_keys": 1,
        "secure_delete": 1,
        "query_only": 1,
    }
    database.dispose()


def test_scrubbing_waits_for_readers_and_says_when_it_could_not(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    database = Database(f"sqlite:///{path}")
    with database.session() as session:
        session.execute(text("CREATE TABLE notes (body TEXT)"))
        session.execute(text("INSERT INTO notes VALUES ('canary-in-the-log')"))
    with database.read() as reader:
        reader.execute(text("SELECT * FROM notes")).all()
        with database.session() as session:
            session.execute(text("DELETE FROM notes"))
        assert database.scrub(patience=0.2) is False
    assert database.scrub() is True
    database.dispose()
    assert not [file for file in tmp_path.iterdir() if b"canary-in-the-log" in file.read_bytes()]
