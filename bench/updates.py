"""What sending a long document again with one page changed costs, and a server's memory in large uploads.

    python -m bench.updates --data DIR [--pages 300] [--repeats 5] [--only update|upload] [--gib 1.0]

Update: the first pages of real PDFs are read as a new document (parsing, cutting, embedding, publishing),
then the same file with one page in its middle replaced, put in or taken out. Seconds are those of the ingest
job alone, in a store of its own on SQLite; the share is that of the first reading. The change is made and
taken back in turn; its seconds are the median.
Upload: a real server takes a file of random bytes as a form (POST), as a new version (PUT) and in pieces
(tus); growth is the peak of its resident memory during the upload over what it held before.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import os
import platform
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import httpx
from pypdf import PageObject, PdfReader, PdfWriter

from ingest import jobs
from ingest.pipeline import Pipeline
from ingest.updates import replace_file
from ingest.uploads import NewDocument, UploadSink, accept
from rag.embedders import load_embedder
from rag.embedders.base import Embedder, Vectors
from rag.settings import GIB, MIB, Settings
from rag.store.migrate import upgrade
from rag.store.repositories import DEFAULT_SCOPE, Collections, Documents
from rag.store.session import Database

SOURCES = (
    ("longdocs/docs/irm-2.3.59-400p.pdf", "longdocs/docs/irm-2.3.59-400p.pdf", 350),
    ("financebench/docs/AMERICANEXPRESS_2022_10K.pdf", "financebench/docs/BOEING_2022_10K.pdf", 60),
)
"""A document, and the file and page (from 0) that its middle page becomes."""
PIECE = 8 * MIB


class Counted:
    """An embedder that counts what it is given."""

    def __init__(self, inner: Embedder) -> None:
        self._inner = inner
        self.passages = 0

    def __getattr__(self, name: str) -> object:
        return getattr(self._inner, name)

    def embed_passages(self, texts: Sequence[str]) -> Vectors:
        """Count, then embed."""
        self.passages += len(texts)
        return self._inner.embed_passages(texts)


def written(pages: Sequence[PageObject]) -> bytes:
    """A PDF of these pages."""
    writer = PdfWriter()
    for page in pages:
        writer.add_page(page)
    stream = io.BytesIO()
    writer.write(stream)
    return stream.getvalue()


@dataclass(frozen=True)
class Read:
    """One run of an ingest job."""

    seconds: float
    chunks: int
    embedded: int


class Store:
    """A store of its own, with one document whose file changes."""

    def __init__(self, folder: Path, embedder: Embedder) -> None:
        self.settings = Settings(_env_file=None, data_dir=folder)
        self.db = Database(self.settings.resolved_database_url)
        upgrade(self.db)
        self.embedder = Counted(embedder)
        self.pipeline = Pipeline(self.db, self.settings, self.embedder)  # type: ignore[arg-type]
        with self.db.session() as session:
            collection = Collections(session, DEFAULT_SCOPE).create("bench", embedder.fingerprint)
        self.collection_id = collection.id
        self.document_id = ""

    def send(self, content: bytes) -> Read:
        """Take in the file, new or as the next version, and read it."""
        with UploadSink(self.settings) as sink:
            sink.write(content)
            new = NewDocument(sink, "report.pdf")
            if self.document_id:
                replace_file(self.db, self.settings, DEFAULT_SCOPE, self.document_id, new)
            else:
                taken = accept(self.db, self.settings, DEFAULT_SCOPE, self.collection_id, new)
                self.document_id = taken.document.id
        self.embedder.passages = 0
        lease = jobs.lease(self.db, "bench")
        assert lease is not None
        began = time.perf_counter()
        outcome = self.pipeline.run(lease)
        seconds = time.perf_counter() - began
        assert outcome == "done", outcome
        with self.db.read() as session:
            chunks = Documents(session, DEFAULT_SCOPE).get(self.document_id).chunks_total
        return Read(seconds, chunks, self.embedder.passages)


def measure_updates(data: Path, most: int, repeats: int) -> None:
    """Print a line for each document and change."""
    embedder = load_embedder(Settings(_env_file=None))
    embedder.embed_passages(["warm up"] * 16)
    for name, other, number in SOURCES:
        pages = list(PdfReader(data / name).pages)[:most]
        foreign, middle = PdfReader(data / other).pages[number], len(pages) // 2
        first = written(pages)
        changes = {
            "a page replaced": [*pages[:middle], foreign, *pages[middle + 1 :]],
            "a page put in": [*pages[:middle], foreign, *pages[middle:]],
            "a page taken out": [*pages[:middle], *pages[middle + 1 :]],
        }
        print(f"{Path(name).name}, first {len(pages)} pages")
        for label, changed in changes.items():
            with tempfile.TemporaryDirectory() as folder:
                store = Store(Path(folder), embedder)
                whole, others = store.send(first), written(changed)
                runs = [store.send(others)]
                for _ in range(repeats - 1):
                    store.send(first)
                    runs.append(store.send(others))
            again = sorted(runs, key=lambda run: run.seconds)[len(runs) // 2]
            print(
                f"  {label:17} first {whole.seconds:6.1f} s ({whole.embedded} chunks), again "
                f"{again.seconds:5.2f} s ({again.embedded} of {again.chunks} chunks embedded): "
                f"{100 * again.seconds / whole.seconds:.1f} %",
                flush=True,
            )


class Noise(io.RawIOBase):
    """A file of random-looking bytes that is made while it is read."""

    def __init__(self, size: int, seed: int) -> None:
        self._left = size
        self._block = hashlib.shake_256(str(seed).encode()).digest(MIB)

    def readable(self) -> bool:
        """It is."""
        return True

    def read(self, size: int = -1) -> bytes:
        """The next bytes, at most a MiB at once."""
        count = min(self._left, MIB, size if size >= 0 else MIB)
        self._left -= count
        return self._block[:count]


class Server:
    """`longleaf serve` as a process of its own."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        environment = {**os.environ, "LONGLEAF_DATA_DIR": str(folder), "LONGLEAF_LOG_LEVEL": "warning"}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "api", "serve", "--port", str(port)], env=environment
        )
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=600)
        while not self._ready():
            time.sleep(0.5)

    def _ready(self) -> bool:
        try:
            return self.client.get("/readyz").status_code == httpx.codes.OK
        except httpx.TransportError:
            return False

    def memory(self, field: str) -> int:
        """`VmRSS` or `VmHWM` in bytes (proc_pid_status(5))."""
        for line in Path(f"/proc/{self._process.pid}/status").read_text().splitlines():
            if line.startswith(field):
                return int(line.split()[1]) * 1024
        raise LookupError(field)

    def forget_peak(self) -> int:
        """Let the peak begin at what is held now (proc_pid_clear_refs(5), value 5); returns that."""
        Path(f"/proc/{self._process.pid}/clear_refs").write_text("5")
        return self.memory("VmRSS")

    def stop(self) -> None:
        """End it."""
        self.client.close()
        self._process.terminate()
        self._process.wait(60)


def settle(server: Server, document_id: str) -> None:
    """Wait until nothing of the document is being read."""
    final = {"ready", "failed", "cancelled"}
    while True:
        shown = server.client.get(f"/documents/{document_id}").json()
        newer = shown["updating"] or {"status": "ready"}
        if shown["status"] in final and newer["status"] in final:
            return
        time.sleep(0.1)


def send_form(server: Server, verb: str, path: str, content: IO[bytes]) -> str:
    """Send the content as the form's file; returns the document's id."""
    response = server.client.request(verb, path, files={"file": ("large.bin", content)})
    assert response.is_success, response.text
    return str(response.json()["documents"][0]["id"])


def send_pieces(server: Server, size: int, content: IO[bytes]) -> str:
    """Send the content by tus; returns the document's id."""
    tus = {"Tus-Resumable": "1.0.0"}
    made = server.client.post("/uploads", headers={**tus, "Upload-Length": str(size)})
    where, offset = made.headers["Location"], 0
    while offset < size:
        most = min(64 * MIB, size - offset)
        response = server.client.patch(
            where,
            headers={
                **tus,
                "Upload-Offset": str(offset),
                "Content-Type": "application/offset+octet-stream",
                "Content-Length": str(most),
            },
            content=_pieces(content, most),
        )
        assert response.is_success, response.text
        offset = int(response.headers["Upload-Offset"])
    return str(response.headers["Longleaf-Document"])


def _pieces(content: IO[bytes], most: int) -> Iterator[bytes]:
    while most and (piece := content.read(most)):
        most -= len(piece)
        yield piece


def measure_uploads(gib: float) -> None:
    """Print a line for each way of sending."""
    size = int(gib * GIB)
    with tempfile.TemporaryDirectory() as folder:
        server = Server(Path(folder))
        try:
            small = send_form(
                server, "POST", "/documents", io.BytesIO(b"A first text, so that all is loaded.")
            )
            settle(server, small)
            for number, way in enumerate(("POST form", "PUT form", "tus, 64 MiB a request")):
                content: IO[bytes] = Noise(size, number)  # type: ignore[assignment]
                before, began = server.forget_peak(), time.perf_counter()
                if number == 0:
                    document = send_form(server, "POST", "/documents", content)
                elif number == 1:
                    document = send_form(server, "PUT", f"/documents/{small}", content)
                else:
                    document = send_pieces(server, size, content)
                seconds = time.perf_counter() - began
                settle(server, document)
                growth = server.memory("VmHWM") - before
                print(
                    f"  {way:22} {size / MIB:,.0f} MiB in {seconds:5.1f} s; server {before / MIB:,.0f} MiB, "
                    f"growth at most {growth / MIB:.1f} MiB",
                    flush=True,
                )
        finally:
            server.stop()


def main() -> None:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, default=os.environ.get("LONGLEAF_EVAL_DATA"))
    parser.add_argument("--pages", type=int, default=300)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--only", choices=("update", "upload"))
    parser.add_argument("--gib", type=float, default=1.0)
    asked = parser.parse_args()
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores")
    if asked.only != "upload":
        if asked.data is None:
            parser.error("--data or LONGLEAF_EVAL_DATA names the folder with the PDFs")
        measure_updates(Path(asked.data), asked.pages, asked.repeats)
    if asked.only != "update":
        measure_uploads(asked.gib)


if __name__ == "__main__":
    main()
