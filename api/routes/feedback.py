"""Feedback: everybody says what they think of an answer; who keeps a collection reads what was said of its
answers."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from api import people, schemas
from api.access import Edits, Reads
from api.fields import CollectionName, id_pattern
from api.fields import answer_id as checked_id
from api.routes.shared import Limit, page, problems
from api.serialize import feedback as shown
from rag.store.repositories import Feedback

router = APIRouter(tags=["questions"])

_NO_ANSWER = "There is no such answer, or its collection is gone."


@router.post(
    "/answers/{id}/feedback",
    response_model=schemas.GivenFeedback,
    summary="Say whether an answer was right",
    responses=problems(s404=_NO_ANSWER),
)
def give(service: Reads, id: str, body: schemas.NewFeedback) -> schemas.GivenFeedback:
    """Say whether an answer was right. What one said of it before is replaced.

    Who may change the collection's documents reads it, with the question.
    """
    with service.db.session() as session:
        row = Feedback(session, service.scope, service.asker).give(
            checked_id(id),
            correct=body.correct,
            comment=body.comment,
            wrong_citations=body.wrong_citations,
        )
    service.deed.of(row.id)
    return shown(row)


@router.delete(
    "/answers/{id}/feedback",
    status_code=204,
    summary="Take back what one said",
    responses=problems(s404="There is no such answer, or one has said nothing of it."),
)
def withdraw(service: Reads, id: str) -> None:
    """Take back what one said of an answer. When this returns nothing of it is in the database."""
    with service.db.session() as session:
        Feedback(session, service.scope, service.asker).withdraw(checked_id(id))
    service.db.scrub()


@router.get(
    "/feedback",
    response_model=schemas.FeedbackList,
    summary="List feedback",
    responses=problems(s404="There is no such collection."),
)
def list_feedback(
    service: Edits,
    collection: Annotated[CollectionName | None, Query(description="Of this collection alone.")] = None,
    correct: Annotated[bool | None, Query(description="Of answers alone that were right, or not.")] = None,
    limit: Limit = 100,
    cursor: Annotated[
        str | None,
        Query(pattern=id_pattern("fbk"), description="`next_cursor` of the page before."),
    ] = None,
) -> schemas.FeedbackList:
    """What people said of answers from the collections that one may change, newest first."""
    with service.db.read() as session:
        scope = service.scope
        only = None if collection is None else people.collection_id(session, scope, collection)
        rows = Feedback(session, scope, service.asker).list(
            collection_id=only, correct=correct, limit=limit + 1, before=cursor
        )
    found, after = page(rows, limit)
    return schemas.FeedbackList(feedback=[shown(row) for row in found], next_cursor=after)
