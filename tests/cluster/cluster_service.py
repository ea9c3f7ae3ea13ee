"""`longleaf serve --cluster` as a process, and what its clients do."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from tests.cluster.tiny_model import write_tiny

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 300.0


class ClusterService:
    """One installation on a cluster; several commands may be given for it, one after the other."""

    def __init__(self, folder: Path, port: int, source: Path = ROOT, **settings: str) -> None:
        """`source` is where the code comes from; `settings` are variables of the environment."""
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        own = {
            "LONGLEAF_DATA_DIR": str(folder / "data"),
            "LONGLEAF_MODEL": str(write_tiny(folder / "tiny")),
            "LONGLEAF_PORT": str(port),
            "RAY_USAGE_STATS_ENABLED": "0",
            "PYTHONPATH": str(source),
        }
        outer = {name: value for name, value in os.environ.items() if not name.startswith("LONGLEAF_")}
        self.environment = outer | own | settings
        self.log = folder / "log"
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=120)
        self.commands: list[subprocess.Popen[bytes]] = []

    def start(self, address: str) -> subprocess.Popen[bytes]:
        """Give the command."""
        command = [sys.executable, "-m", "api", "serve", "--cluster", address]
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                command, env=self.environment, stdout=log, stderr=log, cwd=self._folder
            )
        self.commands.append(process)
        return process

    def run(self, *arguments: str) -> str:
        """Give another command of `longleaf` and return what it prints."""
        done = subprocess.run(
            [sys.executable, "-m", "api", *arguments],
            env=self.environment,
            cwd=self._folder,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert done.returncode == 0, f"{arguments}: {done.stderr[-3000:]}"
        return done.stdout

    def said(self) -> str:
        """The end of what the commands printed."""
        return self.log.read_text(errors="replace")[-6000:]

    def until(self, holds: Callable[[], bool], what: str, seconds: float = PATIENCE) -> None:
        """Wait for something; who refuses connections meanwhile is asked again."""
        end = time.monotonic() + seconds
        while True:
            try:
                if holds():
                    return
            except httpx.TransportError:
                pass
            assert time.monotonic() < end, f"not within {seconds:.0f} s: {what}\n{self.said()}"
            time.sleep(0.25)

    def until_ready(self) -> None:
        """Wait until it says that it is."""

        def ready() -> bool:
            assert any(command.poll() is None for command in self.commands), self.said()
            return self.client.get("/readyz").status_code == 200

        self.until(ready, "the service is ready")

    def send(self, name: str, text: str) -> str:
        """Send a document; returns its id."""
        sent = self.client.post("/documents", files={"file": (name, text.encode())})
        sent.raise_for_status()
        return str(sent.json()["documents"][0]["id"])

    def until_read(self, document: str) -> None:
        """Wait until a document can be searched."""
        self.until(
            lambda: self.client.get(f"/documents/{document}").json().get("status") == "ready",
            f"{document} is ready",
        )

    def found(self, question: str) -> httpx.Response:
        """What a search brings."""
        return self.client.post("/search", json={"query": question})

    def asked(self, question: str, tokens: int = 12) -> tuple[int, list[tuple[str, Any]]]:
        """Status and events of an answer."""
        body = {"question": question, "mode": "answer", "max_tokens": tokens, "stream": True}
        events: list[tuple[str, Any]] = []
        with self.client.stream("POST", "/query", json=body) as stream:
            if stream.status_code != 200:
                stream.read()
                return stream.status_code, []
            name = ""
            for line in stream.iter_lines():
                if line.startswith("event: "):
                    name = line[7:]
                elif line.startswith("data: "):
                    events.append((name, json.loads(line[6:])))
        return 200, events

    def close(self) -> None:
        """End the commands, the last one first, and say whether they ended well."""
        codes = []
        for command in reversed(self.commands):
            if command.poll() is None:
                command.send_signal(signal.SIGTERM)
            try:
                codes.append(command.wait(150))
            except subprocess.TimeoutExpired:
                command.kill()
                codes.append(command.wait())
        self.client.close()
        assert set(codes) <= {0}, f"{codes}: {self.said()}"
