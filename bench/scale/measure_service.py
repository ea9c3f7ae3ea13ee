"""What questions and documents take beside the engine: CPU here and in PostgreSQL, statements, commits."""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from sqlalchemy import event

from bench.many_documents import Installation
from bench.search_latency import Store, databases
from ingest.uploads import NewDocument, UploadSink, accept
from model import Engine
from rag.answer import AnswerRequest, DoneEvent
from rag.answering import Answerer
from rag.retrieval import SearchScope
from rag.store.repositories import DEFAULT_SCOPE
from rag.store.session import Database


@dataclass
class Spent:
    """Between two moments."""

    cpu: float = 0.0
    postgres: float = 0.0
    statements: int = 0
    commits: int = 0


@dataclass
class Bench:
    """An installation on PostgreSQL, watched."""

    house: Installation
    answerer: Answerer
    postmaster: psutil.Process
    counted: Spent = field(default_factory=Spent)

    @contextmanager
    def watched(self) -> Iterator[Spent]:
        """What is spent meanwhile."""
        spent, cpu, postgres = Spent(), time.process_time(), self._postgres()
        before = Spent(statements=self.counted.statements, commits=self.counted.commits)
        yield spent
        spent.cpu = time.process_time() - cpu
        spent.postgres = self._postgres() - postgres
        spent.statements = self.counted.statements - before.statements
        spent.commits = self.counted.commits - before.commits

    def _postgres(self) -> float:
        total = sum(self.postmaster.cpu_times()[:4])
        for child in self.postmaster.children():
            try:
                total += sum(child.cpu_times()[:2])
            except psutil.NoSuchProcess:
                continue
        return float(total)

    @property
    def scope(self) -> SearchScope:
        """Where is looked."""
        return SearchScope(DEFAULT_SCOPE.workspace_id, self.house.collection)

    def fill(self, chunks: int) -> None:
        """Have so many chunks in the collection, with random vectors."""
        store = Store(self.house.db, self.house.retriever._embedder, self.house.texts, self.house.collection)
        self.house.indexes.follow(self.house.collection)
        while (held := len(self.house.indexes.follow(self.house.collection))) < chunks:
            store.publish(f"Document {held}", held)

    def search(self, count: int) -> tuple[Spent, int]:
        """Searches whose embeddings are known; and how many chunks there are."""
        asked = [self.house.texts.draw(12) + "?" for _ in range(count)]
        vectors = {question: self.house.retriever._embedder.embed_query(question) for question in asked}
        embedder: Any = self.house.retriever._embedder
        kept, embedder.embed_query = embedder.embed_query, vectors.__getitem__
        try:
            for question in asked[:3]:
                self.house.retriever.search(question, self.scope, 60)
            with self.watched() as spent:
                for question in asked:
                    self.house.retriever.search(question, self.scope, 60)
        finally:
            embedder.embed_query = kept
        return spent, len(self.house.indexes.follow(self.house.collection))

    def embed(self, count: int) -> Spent:
        """Embeddings of questions."""
        asked = [self.house.texts.draw(12) + "?" for _ in range(count)]
        with self.watched() as spent:
            for question in asked:
                self.house.retriever._embedder.embed_query(question)
        return spent

    def answer(self, count: int) -> Spent:
        """Whole questions, answered by quotes."""
        asked = [self.house.texts.draw(12) + "?" for _ in range(count)]
        with self.watched() as spent:
            for question in asked:
                request = AnswerRequest(question, self.scope, mode="quotes", max_context_tokens=2048, steps=1)
                *_, last = self.answerer.answer(request, threading.Event())
                if not isinstance(last, DoneEvent):
                    raise SystemExit(f"{question!r} was not answered")
        return spent

    def documents(self, count: int, paragraphs: int) -> tuple[Spent, int]:
        """Taking in and reading so many documents; and how many chunks came of them."""
        house = self.house
        before = len(house.indexes.follow(house.collection))
        with self.watched() as spent:
            for _ in range(count):
                house.count += 1
                text = "\n\n".join(house.texts.draw(150) + "." for _ in range(paragraphs))
                with UploadSink(house.settings) as sink:
                    sink.write(f"Note {house.count}\n\n{text}\n".encode())
                    accept(
                        house.db,
                        house.settings,
                        DEFAULT_SCOPE,
                        house.collection,
                        NewDocument(sink, f"note-{house.count}.txt", {}),
                    )
            house.read(count)
        return spent, len(house.indexes.follow(house.collection)) - before


@contextmanager
def bench(engine: Engine) -> Iterator[Bench]:
    """A fresh store on a PostgreSQL of its own, with a search, a worker and an answerer."""
    with tempfile.TemporaryDirectory() as name, databases(Path(name), ["postgres"]) as opened:
        ((_, db),) = opened
        house = Installation(Path(name) / "data", db)
        answerer = Answerer(db, house.retriever, house.retriever._embedder, lambda: engine, house.settings)
        found = Bench(house, answerer, postmaster_of(Path(name)))
        _count(db, found.counted)
        yield found


def postmaster_of(folder: Path) -> psutil.Process:
    """The first process of the PostgreSQL whose data lie in the folder."""
    for process in psutil.process_iter(["name", "cmdline"]):
        arguments = process.info["cmdline"] or []
        if "postgres" in (process.info["name"] or "") and any(str(folder) in each for each in arguments):
            parent = process.parent()
            if parent is None or "postgres" not in parent.name():
                return process
    raise SystemExit(f"no PostgreSQL runs in {folder}")


def _count(db: Database, counted: Spent) -> None:
    def statement(*_: object) -> None:
        counted.statements += 1

    def commit(*_: object) -> None:
        counted.commits += 1

    event.listen(db.engine, "before_cursor_execute", statement)
    event.listen(db.engine, "commit", commit)
