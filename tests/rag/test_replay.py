"""An answer made again: the same bytes, or exactly what is different; on both databases."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import text

from model import Engine
from rag.answering import Answer, Answerer, AnswerRequest, DoneEvent
from rag.embedders import Embedder
from rag.errors import NotFound
from rag.filters import parse_filter
from rag.finding import Turn
from rag.index.live import LiveIndexes
from rag.kept import stored
from rag.replay import Replay, replay
from rag.retrieval import Retriever, SearchScope
from rag.settings import Settings
from rag.store.repositories import DEFAULT_SCOPE, Scope
from rag.store.scope import DEFAULT_WORKSPACE
from rag.store.session import Database
from tests.rag.conftest import WatchedEngine
from tests.rag.filled_store import Library
from tests.rag.test_answering import HARBOUR, PAID, RIVERS

ONE_STORE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture
def library(database: Database, embedder: Embedder) -> Library:
    found = Library.open(database, embedder)
    found.add("Harbour", HARBOUR, team="sea")
    found.add("Rivers", RIVERS, team="sea")
    return found


@pytest.fixture
def make(library: Library, settings: Settings, embedder: Embedder, engine: Engine) -> Callable[..., Answerer]:
    """Makes an answerer as a process that has just been started has it."""

    def answerer(other: Any = None, **change: Any) -> Answerer:
        now = settings.model_copy(update=change)
        retriever = Retriever(library.db, LiveIndexes(library.db, now), embedder)
        return Answerer(library.db, retriever, embedder, lambda: other or engine, now)

    return answerer


def ask(library: Library, answerer: Answerer, **more: Any) -> Answer:
    asked = AnswerRequest(PAID, SearchScope(DEFAULT_WORKSPACE, library.collection_id), **more)
    *_, last = answerer.answer(asked, threading.Event())
    assert isinstance(last, DoneEvent)
    return last.answer


def again(answerer: Answerer, answer: Answer) -> Replay:
    found = replay(answerer, DEFAULT_SCOPE, answer.answer_id, threading.Event())
    assert found is not None
    return found


def body(answer: Answer | None) -> str:
    assert answer is not None
    return json.dumps(answer.as_dict(), ensure_ascii=False)


def what(found: Replay) -> list[str]:
    return [change["what"] for change in found.changed]


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"mode": "answer", "unsupported": "mark", "temperature": 1.2, "seed": 7, "max_tokens": 32},
        {"receipts": True, "top_k": 3, "max_context_tokens": 90, "filters": {"team": "sea"}},
        {"history": (Turn("Who keeps the light?", "The keeper."),), "steps": 2},
    ],
)
def test_nothing_is_different_after_a_restart(
    library: Library, make: Callable[..., Answerer], engine: Engine, more: dict[str, Any]
) -> None:
    first = ask(library, make(), **more)
    engine.forget()  # a model that was just loaded remembers nothing
    found = again(make(), first)
    assert found.changed == ()
    assert body(found.answer) == body(first)
    shown = stored(library.db, DEFAULT_SCOPE, first.answer_id)
    assert shown["answer"] == first.answer
    assert shown["citations"] == [citation.as_dict() for citation in first.citations]
    assert shown["timings"] == first.timings
    assert not shown["withdrawn"]


@ONE_STORE
def test_filters_and_documents_of_the_request_are_asked_again(
    library: Library, make: Callable[..., Answerer]
) -> None:
    other = library.add("Other", ["The keeper of the park is paid 12 crowns."], team="park")
    scope = SearchScope(
        DEFAULT_WORKSPACE, library.collection_id, frozenset({other}), parse_filter({"team": "park"})
    )
    asked = AnswerRequest(PAID, scope, filters={"team": "park"})
    *_, last = make().answer(asked, threading.Event())
    assert isinstance(last, DoneEvent)
    assert {segment.passage.document_id for segment in last.answer.context.pack.segments} == {other}
    found = again(make(), last.answer)
    assert found.changed == ()
    assert body(found.answer) == body(last.answer)
    later = library.add("Later", ["The keeper of the tower is paid 9 crowns."], team="sea")
    found = again(make(), last.answer)
    assert found.changed[0] == {"what": "document_published", "document_id": later}
    assert "document_deleted" not in what(found)


def test_a_deleted_document_withdraws_the_words(library: Library, make: Callable[..., Answerer]) -> None:
    first = ask(library, make())
    beside = library.add("Beside", ["The Loire is the longest river of France."])
    later = ask(library, make(), top_k=1, max_context_tokens=60)
    cited = first.citations[0].document_id
    library.delete(cited)
    found = again(make(), first)
    assert found.changed[0] == {"what": "document_deleted", "document_id": cited}
    assert {"what": "document_published", "document_id": beside} in found.changed
    assert {"withdrawn", "citations", "segments", "ranking"} <= set(what(found))
    shown = stored(library.db, DEFAULT_SCOPE, first.answer_id)
    assert (shown["withdrawn"], shown["answer"]) == (True, None)
    with library.db.read() as session:
        rows = [*session.execute(text("SELECT words, recipe FROM answers"))]
    everything = str([shown, found.changed, *rows, body(found.answer)])
    # a bare 640 may be a part of a second
    for word in ("640 crowns", "crowns", "tower", "Petersen", "Harbour"):
        assert word not in everything
    assert stored(library.db, DEFAULT_SCOPE, later.answer_id)["withdrawn"]


@ONE_STORE
def test_a_document_that_was_not_read_withdraws_nothing(
    library: Library, make: Callable[..., Answerer]
) -> None:
    first = ask(library, make())
    other = library.add("Other", ["Wiregrass flowers only in the months after a burn."])
    library.delete(other)
    found = again(make(), first)
    assert found.changed == ({"what": "document_deleted", "document_id": other},)
    assert body(found.answer) == body(first)
    assert not stored(library.db, DEFAULT_SCOPE, first.answer_id)["withdrawn"]


def test_a_new_generation_is_named_and_withdraws(library: Library, make: Callable[..., Answerer]) -> None:
    first = ask(library, make())
    document = first.citations[0].document_id
    library.publish(document, 2, "Harbour", "The keeper of the light is paid 700 crowns a year.")
    found = again(make(), first)
    assert found.changed[0] == {
        "what": "document_updated",
        "document_id": document,
        "before": 1,
        "after": 2,
    }
    assert "withdrawn" in what(found)
    assert found.answer is not None
    assert "700 crowns" in found.answer.answer
    shown = stored(library.db, DEFAULT_SCOPE, first.answer_id)
    assert shown["withdrawn"]
    assert document not in {citation["document_id"] for citation in shown["citations"]}


@ONE_STORE
def test_stored_text_that_was_tampered_with_is_told(library: Library, make: Callable[..., Answerer]) -> None:
    first = ask(library, make())
    document = first.citations[0].document_id
    with library.db.session() as session:
        session.execute(
            text("UPDATE texts SET text = replace(text, '640', '940') WHERE document_id = :id"),
            {"id": document},
        )
    found = again(make(), first)
    [passage] = [change for change in found.changed if change["what"] == "passage_text"]
    assert passage["document_id"] == document
    assert "answer" in what(found)


@ONE_STORE
def test_another_model_and_other_settings_are_named(
    library: Library, make: Callable[..., Answerer], engine: Engine
) -> None:
    first = ask(library, make())
    other = again(make(WatchedEngine(engine, fingerprint="other@1")), first)
    assert other.changed == ({"what": "model", "before": engine.fingerprint, "after": "other@1"},)
    assert body(other.answer) == body(first)
    tight = again(make(max_context_tokens=64), first)
    assert {"budget", "segments"} <= set(what(tight))
    assert {"what": "budget", "before": first.context.pack.budget, "after": 64} in tight.changed


@ONE_STORE
def test_answers_of_others_do_not_exist(library: Library, make: Callable[..., Answerer]) -> None:
    first = ask(library, make())
    theirs = Scope("ws_other")
    for look in (
        lambda: stored(library.db, theirs, first.answer_id),
        lambda: replay(make(), theirs, first.answer_id, threading.Event()),
        lambda: replay(make(), DEFAULT_SCOPE, "ans_none", threading.Event()),
    ):
        with pytest.raises(NotFound) as caught:
            look()
        assert caught.value.code == "answer_not_found"


@ONE_STORE
def test_words_are_not_kept_of_a_document_that_goes_while_it_is_answered(
    library: Library, make: Callable[..., Answerer]
) -> None:
    asked = AnswerRequest(PAID, SearchScope(DEFAULT_WORKSPACE, library.collection_id))
    answer = None
    for event in make().answer(asked, threading.Event()):
        if type(event).__name__ == "DeltaEvent":
            library.delete(ask_first(library))
        if isinstance(event, DoneEvent):
            answer = event.answer
    assert answer is not None
    assert stored(library.db, DEFAULT_SCOPE, answer.answer_id)["withdrawn"]


def ask_first(library: Library) -> str:
    """Id of the document that holds what is asked."""
    with library.db.read() as session:
        query = "SELECT document_id FROM texts WHERE text LIKE '%640 crowns%'"
        return str(session.execute(text(query)).scalar_one())
