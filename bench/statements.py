"""What PostgreSQL is asked for one question and for one document: statements, round trips, its CPU time.

    python -m bench.statements [--repeat 20]

Statements are executions as the server runs them, begin and commit included: one that is sent with two
thousand rows of values counts as two thousand; round trips are how often an answer is waited for. Both are
counted from libpq's own trace of the messages. Documents are read by a worker's own steps (lease, parse, cut,
embed, publish), questions go through the retriever and the answerer of the service, without what the doors do
before (who asks, allowances). CPU time is that of all of PostgreSQL's processes, divided by the repeats; the
operating system counts it in hundredths of a second.
"""

from __future__ import annotations

import argparse
import platform
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from bench.scale.measure_service import postmaster_of
from bench.scale.wire import Traffic, Wire
from bench.search_latency import databases
from ingest import jobs
from ingest.deletion import delete_document
from ingest.pipeline import Pipeline
from ingest.uploads import NewDocument, UploadSink, accept
from model import Engine
from rag.answer import AnswerRequest, DoneEvent
from rag.answering import Answerer
from rag.embedders import Embedder, load_embedder
from rag.index.live import LiveIndexes
from rag.retrieval import Retriever, SearchScope
from rag.settings import Settings
from rag.store import session as store_session
from rag.store.repositories import DEFAULT_SCOPE, Collections
from rag.store.session import Database

CHUNKS = (1, 10, 120)
WORDS = (
    *(
        "mill",
        "rent",
        "weir",
        "pond",
        "heron",
        "otter",
        "lease",
        "wheel",
        "tenant",
        "owner",
        "notice",
        "stone",
    ),
    *("bridge", "meadow", "field"),
)


class House:
    """A store on PostgreSQL with what a server has, step by step."""

    def __init__(self, folder: Path, db: Database, embedder: Embedder, engine: Engine) -> None:
        self.db = db
        self.settings = Settings(
            _env_file=None,
            data_dir=folder,
            database_url=db.url.render_as_string(hide_password=False),
            chunk_tokens=32,
        )
        with db.session() as session:
            self.collection = Collections(session, DEFAULT_SCOPE).ensure("counted", embedder.fingerprint).id
        self._pipeline = Pipeline(db, self.settings, embedder)
        self._retriever = Retriever(db, LiveIndexes(db, self.settings), embedder)
        self._answerer = Answerer(db, self._retriever, embedder, lambda: engine, self.settings)
        self._scope = SearchScope(DEFAULT_SCOPE.workspace_id, self.collection)
        self._count = 0

    def upload(self, chunks: int) -> str:
        """Take in a document of about so many chunks; returns its id."""
        self._count += 1
        text = "\n\n".join(self._paragraph(number) for number in range(chunks))
        with UploadSink(self.settings) as sink:
            sink.write(text.encode())
            new = NewDocument(sink, f"document-{self._count}.txt", {})
            return accept(self.db, self.settings, DEFAULT_SCOPE, self.collection, new).document.id

    def _paragraph(self, number: int) -> str:
        at = self._count * 31 + number
        words = [WORDS[(at * (place + 3) + place) % len(WORDS)] for place in range(18)]
        return f"Paragraph {number} of {self._count}: " + " ".join(words) + "."

    def read(self) -> None:
        """Lease the job that waits, and do it."""
        lease = jobs.lease(self.db, "counted")
        if lease is None or self._pipeline.run(lease) != "done":
            raise SystemExit("a document was not read")

    def search(self) -> None:
        """Ask for ten results."""
        if not self._retriever.search("which tenant keeps the mill wheel", self._scope):
            raise SystemExit("a search found nothing")

    def ask(self) -> None:
        """Ask a question that quotes answer."""
        request = AnswerRequest("Which tenant keeps the mill?", self._scope, mode="quotes", steps=1)
        *_, last = self._answerer.answer(request, threading.Event())
        if not isinstance(last, DoneEvent):
            raise SystemExit("a question was not answered")

    def delete(self, document_id: str) -> None:
        """Delete as a client does."""
        delete_document(self.db, self.settings, DEFAULT_SCOPE, document_id)


@dataclass(frozen=True)
class Line:
    """What one piece of work took."""

    work: str
    chunks: int
    traffic: Traffic
    postgres: float
    """PostgreSQL's CPU seconds."""


def count(house: House, postmaster: psutil.Process | None = None, repeat: int = 1) -> Iterator[Line]:
    """Each piece of work, `repeat` times; its traffic is that of the last time."""
    wire = Wire(house.db)

    def cpu() -> float:
        if postmaster is None:
            return 0.0
        own = postmaster.cpu_times()
        spent = own.user + own.system + own.children_user + own.children_system
        for child in postmaster.children():
            try:
                spent += sum(child.cpu_times()[:2])
            except psutil.NoSuchProcess:
                continue
        return float(spent)

    def line(work: str, chunks: int, done: list[Traffic], seconds: float) -> Line:
        return Line(work, chunks, done[-1], seconds / len(done))

    # who lies idle for longer is tried with a message of its own, which a slow machine must not bring in
    idle, store_session.IDLE_SECONDS = store_session.IDLE_SECONDS, 3600.0
    try:
        house.upload(1)  # what is asked once in a process is asked here
        house.read()
        house.search()
        house.ask()
        for chunks in CHUNKS:
            ids: list[str] = []
            upload, delete = _entering(house, ids, chunks), _deleting(house, ids)
            began = cpu()
            done = [wire.of(upload) for _ in range(repeat)]
            yield line("upload", chunks, done, cpu() - began)
            began = cpu()
            done = [wire.of(house.read) for _ in ids]
            yield line("read and publish", chunks, done, cpu() - began)
            began = cpu()
            done = [wire.of(house.search)]
            yield line(f"first search after {repeat} of them", chunks, done, cpu() - began)
            for name, work in (("search", house.search), ("question, quotes", house.ask)):
                began = cpu()
                done = [wire.of(work) for _ in range(repeat)]
                yield line(name, chunks, done, cpu() - began)
            began = cpu()
            done = [wire.of(delete) for _ in range(repeat)]
            yield line("delete", chunks, done, cpu() - began)
            house.search()
    finally:
        store_session.IDLE_SECONDS = idle
        wire.close()


def _entering(house: House, ids: list[str], chunks: int) -> Callable[[], None]:
    return lambda: ids.append(house.upload(chunks))


def _deleting(house: House, ids: list[str]) -> Callable[[], None]:
    return lambda: house.delete(ids.pop())


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--repeat", type=int, default=20)
    options = parser.parse_args()
    print(f"{platform.processor() or platform.machine()}, each {options.repeat} times\n")
    print(
        f"{'':>34} {'chunks':>7} {'statements':>11} {'round trips':>12} {'commits':>8} {'PostgreSQL, ms':>15}"
    )
    engine = Engine.load("auto")
    with tempfile.TemporaryDirectory() as name, databases(Path(name), ["postgres"]) as opened:
        ((_, db),) = opened
        house = House(Path(name) / "data", db, load_embedder(Settings(_env_file=None)), engine)
        for line in count(house, postmaster_of(Path(name)), options.repeat):
            traffic = line.traffic
            print(
                f"{line.work:>34} {line.chunks:>7} {traffic.statements:>11} {traffic.round_trips:>12} "
                f"{traffic.commits:>8} {1000 * line.postgres:>15.1f}"
            )


if __name__ == "__main__":
    main()
