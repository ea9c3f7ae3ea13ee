"""The migrated schema is the models' schema, and no process serves on another one."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from sqlalchemy import inspect, text

from rag.store import migrate
from rag.store.migrate import Unmigrated
from rag.store.repositories import DEFAULT_SCOPE, AuditLog, Credentials, Keys, Members, Users
from rag.store.repositories.audit import Done
from rag.store.session import Database
from rag.store.tables import Base


@pytest.fixture
def empty(empty_database_url: str):
    database = Database(empty_database_url)
    yield database
    database.dispose()


def _compare(database: Database) -> list[object]:
    with database.read() as session:
        context = MigrationContext.configure(session.connection(), opts={"compare_type": True})
        return list(compare_metadata(context, Base.metadata))


def test_the_migrated_schema_equals_the_models(database: Database) -> None:
    assert _compare(database) == []


def test_the_comparison_sees_a_difference(database: Database) -> None:
    with database.session() as session:
        session.execute(text("ALTER TABLE documents ADD COLUMN stray TEXT"))
        session.execute(text("DROP INDEX ix_changes_collection_id_seq"))
    assert {difference[0] for difference in _compare(database)} == {"remove_column", "add_index"}


def test_a_database_is_empty_again_after_the_way_down(empty: Database) -> None:
    migrate.upgrade(empty)
    with empty.session() as session:
        config = migrate._config()
        config.attributes["connection"] = session.connection()
        command.downgrade(config, "base")
    with empty.read() as session:
        assert inspect(session.connection()).get_table_names() == ["alembic_version"]
    migrate.prepare_for_serving(empty)
    assert _compare(empty) == []


def test_answers_keep_their_numbers_on_the_way_down_and_up(empty: Database) -> None:
    migrate.upgrade(empty)
    with empty.session() as session:
        session.execute(
            text("INSERT INTO workspaces (id, name, created_at) VALUES ('ws', 'w', '2026-01-01')")
        )
        row = "INSERT INTO answers (id, workspace_id, created_at, question, recipe, words)"
        session.execute(text(f"{row} VALUES ('ans', 'ws', '2026-01-01', 'why?', '{{}}', '{{}}')"))
        session.execute(text("INSERT INTO answer_sources VALUES ('ans', 'doc', 1)"))
        config = migrate._config()
        config.attributes["connection"] = session.connection()
        command.downgrade(config, "0002")
    with empty.read() as session:
        assert "words" not in {
            column["name"] for column in inspect(session.connection()).get_columns("answers")
        }
    migrate.upgrade(empty)
    with empty.read() as session:
        assert session.execute(text("SELECT question, words FROM answers")).one() == ("why?", None)
        assert session.execute(text("SELECT count(*) FROM answer_sources")).scalar_one() == 0
    assert _compare(empty) == []


def test_serving_migrates_an_empty_database(empty: Database) -> None:
    assert migrate.current_revision(empty) is None
    migrate.prepare_for_serving(empty)
    assert migrate.current_revision(empty) == migrate.head_revision()
    migrate.prepare_for_serving(empty)


def test_check_names_the_command(empty: Database) -> None:
    with pytest.raises(Unmigrated, match="longleaf migrate"):
        migrate.check(empty)


def test_an_older_schema_is_migrated_on_sqlite_and_refused_on_postgres(
    empty: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    migrate.upgrade(empty)
    migrations_run = []
    monkeypatch.setattr(migrate, "head_revision", lambda: "9998")
    monkeypatch.setattr(migrate, "upgrade", migrations_run.append)
    with pytest.raises(Unmigrated, match=r"schema \d{4}, this Longleaf needs 9998; run: longleaf migrate"):
        migrate.prepare_for_serving(empty)
    assert migrations_run == ([empty] if empty.dialect == "sqlite" else [])


def test_a_newer_schema_is_refused(database: Database) -> None:
    with database.session() as session:
        session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    for action in (migrate.prepare_for_serving, migrate.check, migrate.upgrade):
        with pytest.raises(Unmigrated, match="schema 9999, which is newer"):
            action(database)


def test_somebody_elses_database_is_left_alone(empty: Database) -> None:
    with empty.session() as session:
        session.execute(text("CREATE TABLE invoices (id INTEGER)"))
    for action in (migrate.prepare_for_serving, migrate.upgrade):
        with pytest.raises(Unmigrated, match="no Longleaf schema"):
            action(empty)
    with empty.read() as session:
        assert inspect(session.connection()).get_table_names() == ["invoices"]


def test_a_migration_that_fails_leaves_the_old_schema(
    empty: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    def torn(config, revision):
        command_upgrade(config, revision)
        raise RuntimeError("power lost")

    command_upgrade = command.upgrade
    monkeypatch.setattr(command, "upgrade", torn)
    with pytest.raises(RuntimeError, match="power lost"):
        migrate.upgrade(empty)
    with empty.read() as session:
        assert inspect(session.connection()).get_table_names() == []


def test_threads_that_start_at_once_do_not_collide(empty_database_url: str) -> None:
    faults: list[BaseException] = []
    barrier = threading.Barrier(4)

    def start() -> None:
        database = Database(empty_database_url)
        try:
            barrier.wait()
            migrate.prepare_for_serving(database)
        except BaseException as error:
            faults.append(error)
        finally:
            database.dispose()

    threads = [threading.Thread(target=start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []


def test_processes_that_start_at_once_outside_the_checkout_do_not_collide(
    empty_database_url: str, tmp_path: Path
) -> None:
    program = (
        "import sys; from rag.store.session import Database; from rag.store import migrate\n"
        "db = Database(sys.argv[1]); migrate.prepare_for_serving(db); print(migrate.current_revision(db))"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(migrate.__file__).parents[2])}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", program, empty_database_url],
            cwd=tmp_path,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    results = [(process.communicate(timeout=60), process.returncode) for process in processes]
    assert [(out.strip(), code) for (out, _), code in results] == [(migrate.head_revision(), 0)] * 2, results


def test_the_first_migration_gives_every_store_its_own_identity(
    empty_database_url: str, tmp_path: Path
) -> None:
    identities = set()
    for url in (empty_database_url, f"sqlite:///{tmp_path / 'second.db'}"):
        database = Database(url)
        migrate.upgrade(database)
        with database.read() as session:
            identities.add(session.scalar(text("SELECT identity FROM store_state")))
        database.dispose()
    assert len(identities) == 2


def _move(database: Database, way: Callable[[Config, str], None], revision: str) -> None:
    with database.session() as session:
        config = migrate._config()
        config.attributes["connection"] = session.connection()
        way(config, revision)


def test_collections_get_a_budget_and_lose_nothing_else_on_the_way_up_and_down(empty: Database) -> None:
    _move(empty, command.upgrade, "0001")
    collection = {"id": "col_1", "workspace_id": "ws_default", "name": "papers", "embedder": "e5@1"}
    with empty.session() as session:
        session.execute(
            text(
                "INSERT INTO collections (id, workspace_id, name, embedder, created_at) "
                "VALUES (:id, :workspace_id, :name, :embedder, :created_at)"
            ),
            {**collection, "created_at": "2026-01-01 00:00:00"},
        )
    _move(empty, command.upgrade, "0002")
    with empty.session() as session:
        assert session.scalar(text("SELECT max_context_tokens FROM collections")) is None
        session.execute(text("UPDATE collections SET max_context_tokens = 4096"))
    _move(empty, command.downgrade, "0001")
    with empty.read() as session:
        assert "max_context_tokens" not in {
            column["name"] for column in inspect(session.connection()).get_columns("collections")
        }
        row = session.execute(text("SELECT id, workspace_id, name, embedder FROM collections")).one()
        assert row._asdict() == collection
    _move(empty, command.upgrade, "0002")


def test_documents_get_their_only_version_on_the_way_up_and_lose_it_on_the_way_down(empty: Database) -> None:
    _move(empty, command.upgrade, "0003")
    names = (
        "id, workspace_id, collection_id, title, filename, media_type, sha256, bytes, metadata, status, "
        "error_code, generation, pages_done, pages_total, chunks_done, chunks_total, characters, "
        "created_at, updated_at"
    )
    with empty.session() as session:
        session.execute(
            text(
                "INSERT INTO collections (id, workspace_id, name, embedder, created_at) "
                "VALUES ('col_1', 'ws_default', 'papers', 'e5@1', '2026-01-01 00:00:00')"
            )
        )
        for document, status, code, generation in (
            ("doc_1", "ready", None, 3),
            ("doc_2", "queued", None, 0),
            ("doc_3", "failed", "corrupt", 0),
        ):
            session.execute(
                text(
                    f"INSERT INTO documents ({names}) VALUES (:id, 'ws_default', 'col_1', 'A', 'a.txt', 't', "
                    ":id, 7, '{}', :status, :code, :generation, 1, 1, 1, 1, 7, "
                    "'2026-01-01 00:00:00', '2026-01-02 00:00:00')"
                ),
                {"id": document, "status": status, "code": code, "generation": generation},
            )
    _move(empty, command.upgrade, "0004")
    with empty.read() as session:
        rows = session.execute(
            text(
                "SELECT document_id, generation, sha256, status, error_code, characters "
                "FROM versions ORDER BY document_id"
            )
        ).all()
    assert [tuple(row) for row in rows] == [
        ("doc_1", 3, "doc_1", "ready", None, 7),
        ("doc_2", 1, "doc_2", "queued", None, 7),
        ("doc_3", 1, "doc_3", "failed", "corrupt", 7),
    ]
    _move(empty, command.downgrade, "0003")
    with empty.read() as session:
        inspector = inspect(session.connection())
        assert not {"versions", "synced_files"} & set(inspector.get_table_names())
        assert "digest" not in {column["name"] for column in inspector.get_columns("chunks")}
        assert session.execute(text("SELECT count(*) FROM documents")).scalar_one() == 3
    _move(empty, command.upgrade, "head")
    assert _compare(empty) == []


def test_people_come_on_the_way_up_and_go_on_the_way_down_and_documents_stay(empty: Database) -> None:
    _move(empty, command.upgrade, "0006")
    with empty.session() as session:
        session.execute(
            text(
                "INSERT INTO collections (id, workspace_id, name, embedder, created_at) "
                "VALUES ('col_1', 'ws_default', 'papers', 'e5@1', '2026-01-01 00:00:00')"
            )
        )
    _move(empty, command.upgrade, "head")
    with empty.session() as session:
        user = Users(session).create("ada@example.org")
        Members(session, DEFAULT_SCOPE).add(user.id, None)
        Members(session, DEFAULT_SCOPE).grant(user.id, "col_1", "editor")
        made = Keys(session, DEFAULT_SCOPE).create(
            "bot", "editor", created_by="test", user_id=user.id, collections=["col_1"]
        )
        Credentials(session).sign_in(made.text, hours=1)
    _move(empty, command.downgrade, "0006")
    with empty.read() as session:
        tables = set(inspect(session.connection()).get_table_names())
        assert (
            not {"users", "memberships", "collection_roles", "api_keys", "key_secrets", "sign_ins"} & tables
        )
        assert session.execute(text("SELECT name FROM collections")).scalar_one() == "papers"
    _move(empty, command.upgrade, "head")
    assert _compare(empty) == []


def test_the_audit_log_comes_on_the_way_up_and_goes_on_the_way_down(empty: Database) -> None:
    _move(empty, command.upgrade, "0008")
    with empty.session() as session:
        AuditLog(session, DEFAULT_SCOPE).add(Done("key_1", "keys create"))
    _move(empty, command.downgrade, "0007")
    with empty.read() as session:
        assert not {"audit_log", "audit_chains"} & set(inspect(session.connection()).get_table_names())
    _move(empty, command.upgrade, "head")
    with empty.read() as session:
        assert AuditLog.chains(session) == []
    assert _compare(empty) == []
