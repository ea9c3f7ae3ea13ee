"""The tools: each a validated request and what is done for it. Text of documents comes back as data alone."""

from __future__ import annotations

import base64
import binascii
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, Field

from api import serialize
from api.answers import ask as answer_events
from api.answers import body_of
from api.fields import CollectionName, Filters, Question, document_id
from api.routes.shared import page, search_scope
from api.schemas import QueryRequest, SearchRequest
from api.schemas.base import Request
from api.wiring import DEFAULT_COLLECTION, Service
from ingest.uploads import NewDocument, UploadSink, accept_all
from rag.answering import DoneEvent
from rag.errors import InvalidRequest, Unavailable
from rag.store.repositories import Documents

MOST_CHARACTERS = 20_000
"""Longest passage that is read at a time, in code points."""


class Search(Request):
    """What to search for."""

    query: Question
    collection: CollectionName = DEFAULT_COLLECTION
    filters: Filters | None = None
    top_k: int = Field(default=8, ge=1, le=50, description="Most passages.")


class Ask(Request):
    """What is asked."""

    question: Question
    collection: CollectionName = DEFAULT_COLLECTION
    filters: Filters | None = None


class ReadPassage(Request):
    """A part of a document's text, by code points or by its page."""

    document_id: str = Field(min_length=1, max_length=60)
    start: int = Field(default=0, ge=0, le=2**53, description="First code point.")
    end: int | None = Field(default=None, ge=0, le=2**53, description="After the last code point.")
    page: int | None = Field(default=None, ge=1, le=2**31 - 1, description="A page instead, from 1.")


class ListDocuments(Request):
    """Which documents to list."""

    collection: CollectionName | None = None
    limit: int = Field(default=50, ge=1, le=500)
    cursor: str | None = Field(default=None, max_length=60, description="`next_cursor` of the page before.")


class AddDocument(Request):
    """A file to be read."""

    filename: str = Field(min_length=1, max_length=255)
    content: str = Field(max_length=8_000_000, description="Its text, or its bytes in base64.")
    encoding: Literal["text", "base64"] = "text"
    collection: CollectionName = DEFAULT_COLLECTION


@dataclass(frozen=True)
class Tool:
    """One tool.

    Attributes:
        arguments: what it takes.
        writes: whether it changes anything, so that who may only read may not call it.
        work: does it, in a thread; looks at the event that says that nobody waits any more.
    """

    name: str
    description: str
    arguments: type[BaseModel]
    work: Callable[[Service, Any, threading.Event], dict[str, Any]]
    writes: bool = False


def search(service: Service, asked: Search, _gone: threading.Event) -> dict[str, Any]:
    """Passages that fit, best first."""
    wanted = SearchRequest(query=asked.query, top_k=asked.top_k)
    scope = search_scope(service, asked.collection, None, asked.filters)
    return serialize.search(service.retriever.wait().look(wanted.query, scope, wanted.top_k)).model_dump(
        mode="json"
    )


def ask(service: Service, asked: Ask, gone: threading.Event) -> dict[str, Any]:
    """An answer with its quotes."""
    query = QueryRequest(question=asked.question, collection=asked.collection, filters=asked.filters)
    for event in answer_events(service, query, gone):
        if isinstance(event, DoneEvent):
            body = body_of(event.answer)
            return {name: body[name] for name in _ANSWER}
    raise Unavailable("The service is stopping.", code="stopping")


_ANSWER = (
    "answer_id",
    "answer",
    "answer_kind",
    "answer_status",
    "citations",
    "disagreements",
    "warnings",
    "partial",
    "evidence",
)


def read_passage(service: Service, asked: ReadPassage, _gone: threading.Event) -> dict[str, Any]:
    """A part of a text, cut at `MOST_CHARACTERS`."""
    identity = document_id(asked.document_id)
    with service.db.read() as session:
        documents = Documents(session, service.scope)
        row = documents.get(identity)
        service.deed.of(identity)
        start, end = asked.start, row.characters if asked.end is None else min(asked.end, row.characters)
        if asked.page is not None:
            page = documents.page(identity, asked.page)
            start, end = page.start, page.end
        start = min(start, end)
        stop = min(end, start + MOST_CHARACTERS)
        text = documents.text_slices(identity, [(start, stop)])[0]
    return {
        "document_id": identity,
        "document_title": row.title,
        "start_char_index": start,
        "end_char_index": stop,
        "characters": row.characters,
        "text": text,
    }


def list_documents(service: Service, asked: ListDocuments, _gone: threading.Event) -> dict[str, Any]:
    """Documents, newest first."""
    before = None if asked.cursor is None else document_id(asked.cursor)
    collection = None if asked.collection is None else service.collection(asked.collection).id
    with service.db.read() as session:
        rows = Documents(session, service.scope).list(
            collection_id=collection, limit=asked.limit + 1, before=before
        )
    shown, after = page(rows, asked.limit)
    return {
        "documents": [serialize.document(row).model_dump(mode="json") for row in shown],
        "next_cursor": after,
    }


def add_document(service: Service, asked: AddDocument, _gone: threading.Event) -> dict[str, Any]:
    """Take a file in; it is read in the background."""
    data = asked.content.encode("utf-8", "replace")
    if asked.encoding == "base64":
        try:
            data = base64.b64decode(data, validate=True)
        except binascii.Error as error:
            raise InvalidRequest(f"content is not base64: {error}.") from None
    with service.lines.inside("uploads"):  # not by its address, which all tools have together
        service.lines.check_queue()
        return _take_in(service, asked, data)


def _take_in(service: Service, asked: AddDocument, data: bytes) -> dict[str, Any]:
    collection = service.ensure_collection(asked.collection)
    with UploadSink(service.settings) as sink:
        sink.write(data)
        [taken] = accept_all(
            service.db,
            service.settings,
            service.scope,
            collection.id,
            [NewDocument(sink, asked.filename)],
            reuse=True,
        )
    service.deed.of(taken.document.id)
    entry = serialize.upload([taken]).documents[0].model_dump(mode="json")
    return {**entry, "already_there": taken.reused}


TOOLS = {
    tool.name: tool
    for tool in (
        Tool("search", "Find passages of the documents by meaning and by words.", Search, search),
        Tool(
            "ask",
            "Answer a question from the documents, with verbatim quotes that were checked. answer_status "
            "says whether the documents hold an answer.",
            Ask,
            ask,
        ),
        Tool(
            "read_passage",
            f"Read a part of a document's text, at most {MOST_CHARACTERS} characters at a time.",
            ReadPassage,
            read_passage,
        ),
        Tool("list_documents", "List documents, newest first.", ListDocuments, list_documents),
        Tool(
            "add_document",
            "Add a file to a collection. It is read in the background; list_documents shows its status.",
            AddDocument,
            add_document,
            writes=True,
        ),
    )
}
