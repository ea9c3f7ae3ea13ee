"""What the verbs of `longleaf eval` ask: documents in a store, questions chosen from a file."""

from __future__ import annotations

import hashlib
import os
import platform
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from api.answers import answer_request
from api.commands.ingest import add_files, find_files, read_all
from api.commands.session import command_service, temporary_folder
from api.schemas import QueryRequest
from api.terminal import FAILURE, USAGE, fail, warn
from api.version import version
from api.wiring import DEFAULT_COLLECTION, Service
from rag.answer import AnswerRequest
from rag.evaluation.library import Library
from rag.evaluation.measuring import Measurer
from rag.evaluation.questions import GoldQuestion, QuestionFileError, QuestionSet, load_questions
from rag.settings import Settings
from rag.store.records import CollectionRow


@dataclass(frozen=True)
class Asking:
    """Which questions, of which documents, and how: the options that the verbs share."""

    source: Path
    docs: Path | None
    collection: str | None
    limit: int | None
    language: str | None
    top_k: int
    budget: int | None


@dataclass(frozen=True)
class Chosen:
    """The questions to ask, and the folders whose files are read first (none: a collection is asked)."""

    questions: tuple[GoldQuestion, ...]
    folders: tuple[Path, ...]


@dataclass(frozen=True)
class Session:
    """A service whose documents are there, and what it takes to ask it."""

    service: Service
    collection: CollectionRow
    library: Library

    def request(self, asking: Asking) -> AnswerRequest:
        """What every question is asked with; the question itself is still missing."""
        return answer_request(
            self.service,
            QueryRequest(
                question="?",
                collection=self.collection.name,
                top_k=asking.top_k,
                max_context_tokens=asking.budget,
            ),
        )

    def measurer(self, request: AnswerRequest) -> Measurer:
        """A measurer of this service, warmed up."""
        measurer = Measurer(self.service.answerer.wait(), self.library, request)
        measurer.warm_up()
        return measurer

    def about(self, asking: Asking) -> dict[str, Any]:
        """What a run file says of the documents, the models and the machine."""
        service = self.service
        engine = service.engine.wait()
        embedder = service.embedder.wait()
        documents = sorted(row.sha256 for row in self.library.rows.values())
        return {
            "version": version(),
            "model": f"{engine.name} {engine.fingerprint[:16]}",
            "embedder": embedder.fingerprint,
            "documents": {
                "count": len(documents),
                "digest": hashlib.sha256("".join(documents).encode()).hexdigest()[:16],
            },
            "settings": {
                "mode": service.settings.answer_mode,
                "top_k": asking.top_k,
                "max_context_tokens": asking.budget
                or self.collection.max_context_tokens
                or service.settings.max_context_tokens,
                "max_tokens": service.settings.max_tokens,
                "chunk_tokens": service.settings.chunk_tokens,
            },
            "machine": {
                "processor": platform.processor() or platform.machine(),
                "cores": os.cpu_count(),
                "device": engine.device,
            },
        }


def choose(asking: Asking) -> Chosen:
    """Read and choose the questions; ends with 2 and the reason when that can't be done."""
    if asking.docs is not None and asking.collection is not None:
        fail("--docs and --collection exclude each other: give the folder or the collection", USAGE)
    try:
        found = load_questions(asking.source)
    except QuestionFileError as error:
        fail(error.detail, USAGE)
    questions = [
        question
        for question in found.questions
        if asking.language is None or question.language == asking.language
    ]
    if not questions:
        known = ", ".join(sorted({question.language or "none" for question in found.questions}))
        fail(f"no question is in the language {asking.language!r}; there are: {known}", USAGE)
    if asking.limit is not None:
        order = sorted(questions, key=lambda each: hashlib.sha256(each.id.encode()).digest())
        kept = {each.id for each in order[: asking.limit]}
        questions = [each for each in questions if each.id in kept]
    return Chosen(tuple(questions), _folders(asking, found, questions))


def _folders(asking: Asking, found: QuestionSet, questions: Sequence[GoldQuestion]) -> tuple[Path, ...]:
    if asking.collection is not None:
        return ()
    if asking.docs is not None:
        if not asking.docs.exists():
            fail(f"--docs {asking.docs}: there is no such folder", USAGE)
        return (asking.docs,)
    if not found.folders:
        fail(f"{asking.source} has no folder docs/ beside it: say where the documents are by --docs FOLDER, "
             "or which collection holds them by --collection NAME", USAGE)  # fmt: skip
    named = {name for question in questions for name in question.docs}
    holding = [folder for folder in found.folders if any((folder / name).is_file() for name in named)]
    return tuple(holding or found.folders)


@contextmanager
def session(settings: Settings, collection: str | None, folders: Sequence[Path]) -> Iterator[Session]:
    """The documents of folders in a temporary store that is gone afterwards, or a collection that is there.

    Ends with 1 when no document could be read. Raises NotFound, Unmigrated, Unavailable.
    """
    if not folders:
        name = collection or DEFAULT_COLLECTION
        with command_service(settings, engine=True, collection=name) as service:
            found = service.collection(name)
            yield Session(service, found, Library(service.db, service.scope, found.id))
        return
    files, _ = find_files(folders)
    if not files:
        fail(f"there is no file in {', '.join(map(str, folders))}")
    with temporary_folder() as folder, documents_in(settings, folder, files) as found_in:
        yield found_in


@contextmanager
def documents_in(settings: Settings, data_dir: Path, files: Sequence[Path]) -> Iterator[Session]:
    """Files read into a store in a folder, as far as it does not hold them yet.

    Ends with 1 when no document could be read. Raises Unmigrated, Unavailable.
    """
    own = settings.model_copy(update={"data_dir": data_dir, "database_url": ""})
    with command_service(own, engine=True) as service:
        entries = add_files(service, files, DEFAULT_COLLECTION)
        read_all(service, entries)
        for entry in entries:
            if entry.reason:
                warn(f"{entry.path}: {entry.reason}")
        if all(entry.reason for entry in entries):
            fail("none of the documents could be read", FAILURE)
        paths: dict[str, list[str]] = {}
        for entry in entries:
            paths.setdefault(entry.document_id or "", []).append(str(entry.path.resolve()))
        found = service.collection(DEFAULT_COLLECTION)
        yield Session(service, found, Library(service.db, service.scope, found.id, paths))
