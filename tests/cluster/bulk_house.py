"""A store, a folder of files, the command that reads them on a cluster, and what must be true afterwards."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from sqlalchemy import text

from rag.embedders.base import Embedder
from rag.settings import Settings
from rag.store.repositories import DEFAULT_SCOPE, Chunks, Documents, Jobs
from rag.store.session import Database
from tests.faults.checks import Violation, below

ROOT = Path(__file__).resolve().parents[2]
WORDS = ("river", "stone", "lantern", "harbour", "copper", "meadow", "window", "thunder", "ledger", "orchard")


class BulkHouse:
    """One installation whose documents a cluster reads."""

    def __init__(self, folder: Path, database_url: str, seed: int = 0) -> None:
        self.rng = random.Random(seed)
        self.files = folder / "files"
        self.files.mkdir(parents=True, exist_ok=True)
        self.settings = Settings(
            _env_file=None, data_dir=folder / "data", database_url=database_url, chunk_tokens=40
        )
        self.db = Database(database_url)
        self.log = folder / "driver.log"

    def write(self, count: int, paragraphs: tuple[int, int] = (1, 60)) -> None:
        """Add files of so many paragraphs, each a chunk or two."""
        there = len(list(self.files.iterdir()))
        for number in range(there, there + count):
            size = self.rng.randint(*paragraphs)
            lines = [f"Note {number:05d}, paragraph {n}: {self._words()}." for n in range(size)]
            (self.files / f"note-{number:05d}.txt").write_text("\n\n".join(lines) + "\n")

    def _words(self) -> str:
        return " ".join(self.rng.choice(WORDS) for _ in range(24))

    def start(self, address: str) -> subprocess.Popen[bytes]:
        """Give the command, in a process of its own."""
        environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "LONGLEAF_DATA_DIR": str(self.settings.data_dir),
            "LONGLEAF_DATABASE_URL": self.settings.database_url,
            "LONGLEAF_CHUNK_TOKENS": str(self.settings.chunk_tokens),
        }
        command = [sys.executable, "-m", "api", "ingest", "--cluster", address, str(self.files)]
        with self.log.open("ab") as log:
            return subprocess.Popen(
                command, cwd=ROOT, env=environment, stdout=log, stderr=log, start_new_session=True
            )

    def kill(self, driver: subprocess.Popen[bytes]) -> None:
        """Kill the command as it stands."""
        driver.send_signal(signal.SIGKILL)
        driver.wait()

    def jobs(self) -> dict[str, int]:
        """How many jobs are in which state."""
        with self.db.read() as session:
            counted = session.execute(text("SELECT status, count(*) FROM ingest_jobs GROUP BY status"))
            return {str(status): int(count) for status, count in counted}

    def check(self, embedder: Embedder | None = None, sample: int = 5) -> int:
        """Every file is there once, whole and published once; returns how many. Raises Violation.

        With an embedder, the vectors of some documents are made anew and compared.
        """
        below(SimpleNamespace(data=self.settings.data_dir), self.db)  # type: ignore[arg-type]
        wanted = {hashlib.sha256(path.read_bytes()).hexdigest(): path for path in self.files.iterdir()}
        with self.db.read() as session:
            rows = session.execute(text("SELECT id, sha256, status FROM documents")).all()
            published = session.scalar(text("SELECT count(*) FROM changes WHERE kind = 'publish'"))
        found = {str(row.sha256): str(row.id) for row in rows}
        if len(found) != len(rows):
            raise Violation("a file is there twice")
        if lost := wanted.keys() - found.keys():
            raise Violation(f"{[wanted[key].name for key in lost]} were given and are not there")
        if bad := [row.id for row in rows if row.status != "ready"]:
            raise Violation(f"{bad} are not ready: {[self._job(key) for key in bad]}")
        if published != len(rows):
            raise Violation(f"{published} publications of {len(rows)} documents")
        for sha256, path in wanted.items():
            with self.db.read() as session:
                stored = Documents(session, DEFAULT_SCOPE).text(found[sha256])
            if path.suffix == ".txt" and stored != path.read_text():
                raise Violation(f"the text of {path.name} is not what was given")
        for sha256 in self.rng.sample(sorted(wanted), min(sample, len(wanted)) if embedder else 0):
            self._vectors(embedder, found[sha256])
        return len(rows)

    def _job(self, document_id: str) -> Any:
        with self.db.read() as session:
            return Jobs(session, DEFAULT_SCOPE).of_document(document_id)

    def _vectors(self, embedder: Any, document_id: str) -> None:
        with self.db.read() as session:
            title = Documents(session, DEFAULT_SCOPE).get(document_id).title
            rows = Chunks(session, DEFAULT_SCOPE).of_generation(document_id, 1)
            stored = Documents(session, DEFAULT_SCOPE).text(document_id)
        from ingest.embedding import embedded_as  # noqa: PLC0415

        again = embedder.embed_passages(
            [embedded_as(row, stored[row.start : row.end], title) for row in rows]
        )
        for row, vector in zip(rows, again, strict=True):
            if float(np.dot(np.asarray(row.vector, np.float32), vector)) < 0.999:
                raise Violation(f"chunk {row.ordinal} of {document_id} has another text's vector")
