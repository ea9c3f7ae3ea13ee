"""A question in a conversation: what was said before goes along with it, and its answer is kept there."""

from __future__ import annotations

from typing import Any

from sqlalchemy.orm import Session

from api.schemas import QueryRequest
from api.wiring import Service
from rag.errors import InvalidRequest, LongleafError
from rag.finding import Turn
from rag.store.records import ConversationRow
from rag.store.repositories import Answers, Conversations

TURNS = 6
"""Turns that go along with a question."""
SAID = 4000
"""Code points of an answer that go along, at most."""


def conversations(session: Session, service: Service) -> Conversations:
    """Those of who asks."""
    return Conversations(session, service.scope, service.asker)


def conversation_of(service: Service, asked: QueryRequest) -> ConversationRow | None:
    """The conversation that a question is asked in; None where it is asked by itself.

    Raises NotFound (`conversation_not_found`), Forbidden for one that somebody else shared, Conflict
    (`conversation_full`), InvalidRequest (`other_collection`).
    """
    if asked.conversation_id is None:
        return None
    with service.db.read() as session:
        found = conversations(session, service).check_may_append(asked.conversation_id)
    if asked.collection is not None and asked.collection != found.collection:
        raise InvalidRequest(
            f"The conversation is about the collection {found.collection!r}, and the question about "
            f"{asked.collection!r}; begin another conversation.",
            code="other_collection",
        )
    return found


def said_before(service: Service, conversation: ConversationRow) -> tuple[Turn, ...]:
    """The last turns: questions, and answers whose words are still there."""
    with service.db.read() as session:
        ids = conversations(session, service).answers(conversation.id)
        rows = [Answers(session, service.scope).get(each) for each in ids[-TURNS:]]
    return tuple(Turn(row.question, _words(row.words, row.recipe)) for row in rows)


def append(service: Service, conversation_id: str, answer_id: str, question: str) -> None:
    """Keep an answer as the next turn; in a conversation that is gone meanwhile, nothing of it is kept.

    Raises as `conversation_of`.
    """
    try:
        with service.db.session() as session:
            conversations(session, service).append(conversation_id, answer_id, question)
    except LongleafError:
        with service.db.session() as session:
            Answers(session, service.scope).delete(answer_id)
        raise


def whole(service: Service, conversation_id: str) -> tuple[ConversationRow, list[dict[str, Any]]]:
    """A conversation and its answers as they can be shown today. Raises NotFound."""
    from rag.kept import stored  # noqa: PLC0415 (the start does not wait for models)

    with service.db.read() as session:
        theirs = conversations(session, service)
        row, ids = theirs.get(conversation_id), theirs.answers(conversation_id)
    return row, [stored(service.db, service.scope, each, service.asker) for each in ids]


def _words(words: dict[str, Any] | None, recipe: dict[str, Any]) -> str:
    # a refusal is the service's own sentence, and nothing to lean on
    if words is None or recipe.get("status") != "answered":
        return ""
    return str(words.get("answer", ""))[:SAID]
