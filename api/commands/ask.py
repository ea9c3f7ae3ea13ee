"""`longleaf ask`: an answer with its quotes, from the data folder or from files given with the question."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from api.answers import ask, body_of
from api.commands.ingest import add_files, find_files, read_all
from api.commands.search import place
from api.commands.session import command_service, temporary_folder
from api.schemas import QueryRequest
from api.terminal import FAILURE, USAGE, fail, one_line, say, say_heading, say_json, warn
from api.wiring import DEFAULT_COLLECTION, Service
from rag.answering import DoneEvent, ProgressEvent
from rag.settings import Settings


def run(
    settings: Settings, files: list[Path], question: str, collection: str, top_k: int, *, as_json: bool
) -> None:
    """Answer and print; exits with 1 when no file could be read. Raises what the API answers as errors."""
    if not question.strip():
        fail("the question is empty", USAGE)
    if not files and Path(question).is_file():
        fail(f"{question!r} is a file; the question comes after it", USAGE)
    asked = QueryRequest(
        question=question, collection=DEFAULT_COLLECTION if files else collection, top_k=top_k
    )
    # what is not there is said before a model is loaded
    found, missing = find_files(files)
    for path in missing:
        warn(f"{path}: there is no such file")
    if files and not found:
        fail("none of the files could be read", FAILURE)
    with _store(settings, files, asked.collection) as service:
        if files:
            _read(service, found)
        body = _answer(service, asked)
    if as_json:
        say_json(body)
    else:
        _show(body)


@contextmanager
def _store(settings: Settings, files: list[Path], collection: str | None) -> Iterator[Service]:
    if not files:
        with command_service(settings, engine=True, collection=collection) as service:
            yield service
        return
    with temporary_folder() as folder:
        own = settings.model_copy(update={"data_dir": folder, "database_url": ""})
        with command_service(own, engine=True) as service:
            yield service


def _read(service: Service, files: list[Path]) -> None:
    entries = add_files(service, files, DEFAULT_COLLECTION)
    read_all(service, entries)
    unread = [entry for entry in entries if entry.reason]
    for entry in unread:
        warn(f"{entry.path}: {entry.reason}")
    if len(unread) == len(entries):
        fail("none of the files could be read", FAILURE)


def _answer(service: Service, asked: QueryRequest) -> dict[str, Any]:
    cancel = threading.Event()
    shows = sys.stderr.isatty()
    try:
        for event in ask(service, asked, cancel):
            if isinstance(event, ProgressEvent) and shows:
                sys.stderr.write(f"\rreading {event.read:,} of {event.total:,} tokens ")
                sys.stderr.flush()
            if isinstance(event, DoneEvent):
                return body_of(event.answer)
    finally:
        cancel.set()
        if shows:
            sys.stderr.write("\r\x1b[K")
    raise RuntimeError("the answer ended without its last event")


def _show(body: dict[str, Any]) -> None:
    if body["answer_kind"] != "quotes":  # an answer that is nothing but its quotes is shown once
        say(body["answer"])
    if body["citations"]:
        if body["answer_kind"] != "quotes":
            say()
        for citation in body["citations"]:
            where = f"{one_line(citation['document_title'], 100)}{place(citation['page_number'])}"
            say_heading(f"[{citation['id']}] ", where)
            say(f"    “{one_line(citation['cited_text'], 2000)}”")
