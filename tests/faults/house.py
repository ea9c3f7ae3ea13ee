"""A whole installation that can be hurt: a data folder on a disk of its own, a database, servers, workers."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil

from tests.faults.stores import PostgresStore, SqliteStore

ROOT = Path(__file__).resolve().parents[2]
DISK_MIB = 96
PATIENCE = 60.0


@dataclass
class Process:
    """A server or worker: what it was started as, and its number."""

    name: str
    role: str
    pid: int
    spoilt: bool = False

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        try:
            return psutil.Process(self.pid).status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False


class House:
    """Start it, hurt it, heal it. Use it as a context manager."""

    def __init__(self, kind: str, *, embedder: str = "auto") -> None:
        base = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
        self.base = Path(tempfile.mkdtemp(prefix="longleaf-faults-", dir=base))
        self.disk = self.base / "disk"
        self.disk.mkdir()
        self.own_disk = self._mount()
        self.data = self.disk / "data"
        self.data.mkdir()
        self.control = self.base / "control"
        self.control.mkdir()
        self.store = SqliteStore(self.data) if kind == "sqlite" else PostgresStore()
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
        self._template = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.child"],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=(self.base / "template.log").open("wb"),
            text=True,
        )
        self.settings: dict[str, Any] = {
            "data_dir": str(self.data),
            "database_url": self.store.url,
            "chunk_tokens": 40,
            "embedder": embedder,
            "parse_timeout_seconds": 20,
            "shutdown_seconds": 1,
        }
        self.processes: dict[str, Process] = {}
        self.clients: dict[str, httpx.Client] = {}
        self._ballast: list[Path] = []

    def __enter__(self) -> House:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.processes.values():
            with suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)
        self._template.kill()
        self._template.wait()
        self.store.close()
        if self.own_disk:
            subprocess.run(["umount", "-l", str(self.disk)], check=False)
        shutil.rmtree(self.base, ignore_errors=True)

    def _mount(self) -> bool:
        """A small disk of our own can really be filled; without the right to mount, seccomp plays it."""
        if os.geteuid() != 0:
            return False
        command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MIB}m", "tmpfs", str(self.disk)]
        return subprocess.run(command, check=False, stderr=subprocess.DEVNULL).returncode == 0

    def start(self, name: str, role: str, **settings: Any) -> Process:
        """Fork a server or worker; a server answers when this returns, or is dead."""
        port = self.control / f"{name}.port"
        port.unlink(missing_ok=True)
        assert self._template.stdin is not None
        assert self._template.stdout is not None
        order = {
            "name": name,
            "role": role,
            "control": str(self.control),
            "settings": {**self.settings, "ingest_workers": 2 if role == "worker" else 0, **settings},
        }
        self._template.stdin.write(json.dumps(order) + "\n")
        self._template.stdin.flush()
        line = self._template.stdout.readline()
        if not line:
            raise RuntimeError(f"the template died: {(self.base / 'template.log').read_text()[-2000:]}")
        process = self.processes[name] = Process(name, role, int(line))
        if role == "server":
            self._await(process, port)
        return process

    def _await(self, process: Process, port: Path) -> None:
        deadline = time.monotonic() + PATIENCE
        while process.alive:
            if port.exists():
                if old := self.clients.pop(process.name, None):
                    old.close()
                url = f"http://127.0.0.1:{port.read_text()}"
                client = self.clients[process.name] = httpx.Client(base_url=url, timeout=60)
                with suppress(httpx.HTTPError):
                    if client.get("/documents", params={"limit": 1}).status_code < 500:
                        return
            if time.monotonic() > deadline:
                raise TimeoutError(f"server {process.name} does not answer; see {self.control / 'log'}")
            time.sleep(0.02)

    @property
    def client(self) -> httpx.Client:
        """A client of the first server."""
        return self.clients["server-a"]

    def arm(self, name: str, step: str, action: str, nth: int = 1) -> None:
        """Lay out what shall happen when a process whose name begins so reaches the step."""
        (self.control / "fired").unlink(missing_ok=True)
        (self.control / "who").unlink(missing_ok=True)
        plan = self.control / "plan"
        plan.with_suffix(".new").write_text(
            json.dumps({"name": name, "step": step, "action": action, "nth": nth})
        )
        os.rename(plan.with_suffix(".new"), plan)

    @property
    def fired(self) -> bool:
        """Whether the plan was carried out."""
        return (self.control / "fired").exists()

    def disarm(self) -> bool:
        """Take the plan back; whether it had been carried out."""
        (self.control / "plan").unlink(missing_ok=True)
        if not self.fired:
            return False
        plan = json.loads((self.control / "fired").read_text())
        process = self.processes.get(self._who())
        if process is not None and plan["action"] == "kill":
            self._await_end(process)  # the plan is noted before it is carried out
        elif process is not None and plan["action"] != "stop":
            process.spoilt = True
        (self.control / "fired").unlink()
        return True

    def _who(self) -> str:
        """The process that carried the plan out; nothing when it was a parser."""
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline:
            with suppress(FileNotFoundError):
                return (self.control / "who").read_text()
            time.sleep(0.005)
        return ""

    def _await_end(self, process: Process) -> None:
        deadline = time.monotonic() + 10
        while process.alive and time.monotonic() < deadline:
            time.sleep(0.005)

    def kill(self, name: str) -> None:
        """End a process without a word; returns when it is gone."""
        process = self.processes[name]
        with suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)
        self._await_end(process)

    def signal(self, name: str, number: int) -> None:
        """Send a signal, if the process is there."""
        with suppress(ProcessLookupError):
            os.kill(self.processes[name].pid, number)

    def remove(self, name: str) -> None:
        """End a process for good."""
        self.kill(name)
        del self.processes[name]
        if client := self.clients.pop(name, None):
            client.close()

    def limit_files(self, size: int) -> None:
        """No process may write a file beyond `size` bytes; -1 lifts it (RLIMIT_FSIZE, the soft limit)."""
        for process in self.processes.values():
            with suppress(ProcessLookupError):
                _, hard = resource.prlimit(process.pid, resource.RLIMIT_FSIZE)
                soft = hard if size < 0 else size
                resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (soft, hard))

    def fill_disk(self) -> None:
        """Leave not one byte free; only with a disk of our own."""
        path = self.disk / f"ballast{len(self._ballast)}"
        self._ballast.append(path)
        block = b"\0" * 65536
        with path.open("wb", buffering=0) as stream, suppress(OSError):
            while stream.write(block):
                pass

    def empty_disk(self) -> None:
        """Take the ballast away."""
        while self._ballast:
            self._ballast.pop().unlink(missing_ok=True)

    def bend_time(self, seconds: float) -> None:
        """Set every clock that anything of the installation goes by."""
        (self.control / "offset").write_text(str(seconds))
        self.store.bend_time(seconds)

    def heal(self) -> list[str]:
        """Take every trouble away and start what is dead; returns the names of what was started."""
        self.disarm()
        self.empty_disk()
        self.limit_files(-1)
        self.store.heal()
        for process in self.processes.values():
            self.signal(process.name, signal.SIGCONT)
            if process.spoilt:
                self.kill(process.name)
        started = []
        for process in list(self.processes.values()):
            if not process.alive:
                inner = {"ingest_workers": 1} if process.name == "server-b" else {}
                self.start(process.name, process.role, **inner)
                started.append(process.name)
        return started
