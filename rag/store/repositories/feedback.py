"""What people say of answers: each their own, and all of it for those who keep the collection."""

from __future__ import annotations

import builtins
from collections.abc import Sequence

from sqlalchemy import Select, delete, select, true
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from rag.errors import InvalidRequest, NotFound
from rag.ids import new_id
from rag.store.feedback import FeedbackEntry
from rag.store.records import FeedbackRow
from rag.store.repositories.answers import Answers
from rag.store.repositories.collections import Collections
from rag.store.scope import Repository, Scope, utc_now
from rag.store.tables import Answer, Collection


class Feedback(Repository):
    """What `owner` (the id of a key or user) says, or may read, in one workspace."""

    def __init__(self, session: Session, scope: Scope, owner: str) -> None:
        super().__init__(session, scope)
        self._owner = owner

    def give(
        self,
        answer_id: str,
        *,
        correct: bool,
        comment: str | None = None,
        wrong_citations: Sequence[int] = (),
    ) -> FeedbackRow:
        """Say whether an answer was right; said once more, it takes the place of what was said before.

        Raises NotFound (`answer_not_found`; `collection_not_found` once that is deleted), InvalidRequest
        (`unknown_citation`).
        """
        answer = Answers(self._session, self._scope).get(answer_id)
        asked = answer.recipe.get("request", answer.recipe)
        collection = Collections(self._session, self._scope).get(asked["collection_id"])
        numbers = sorted(set(wrong_citations))
        last = len(answer.recipe.get("citations", ()))
        if numbers and not 1 <= numbers[0] <= numbers[-1] <= last:
            strange = next(each for each in numbers if not 1 <= each <= last)
            raise InvalidRequest(
                f"wrong_citations: the answer has no citation {strange}, it has {last}",
                code="unknown_citation",
            )
        row = self._row(answer_id) or self._begun(answer_id, collection.id)
        row.correct, row.comment, row.wrong_citations = correct, comment, numbers
        row.updated_at = utc_now()
        self._session.flush()
        return _record(row, answer.question, collection.name)

    def own(self, answer_id: str) -> FeedbackRow | None:
        """What they themselves said of an answer; None where they said nothing."""
        query = self._shown().where(
            FeedbackEntry.answer_id == answer_id,
            FeedbackEntry.owner == self._owner,
            self._seen(FeedbackEntry.collection_id),
        )
        found = self._session.execute(query).one_or_none()
        return None if found is None else _record(*found)

    def withdraw(self, answer_id: str) -> None:
        """Take back what they said. Raises NotFound (`answer_not_found`, `feedback_not_found`)."""
        Answers(self._session, self._scope).get(answer_id)
        row = self._row(answer_id)
        if row is None:
            raise NotFound(f"You have said nothing of answer {answer_id!r}.", code="feedback_not_found")
        self._session.execute(delete(FeedbackEntry).where(FeedbackEntry.id == row.id))

    def list(
        self,
        *,
        collection_id: str | None = None,
        correct: bool | None = None,
        limit: int = 100,
        before: str | None = None,
    ) -> builtins.list[FeedbackRow]:
        """Everybody's, of the collections in which this may be read, newest first.

        `before` is the id of the last one of the page before.
        """
        allowed = self._scope.allowed
        query = self._shown().where(
            self._seen(FeedbackEntry.collection_id),
            true() if allowed is None else FeedbackEntry.collection_id.in_(sorted(allowed)),
        )
        if collection_id is not None:
            query = query.where(FeedbackEntry.collection_id == collection_id)
        if correct is not None:
            query = query.where(FeedbackEntry.correct == correct)
        if before is not None:
            query = query.where(FeedbackEntry.id < before)
        rows = self._session.execute(query.order_by(FeedbackEntry.id.desc()).limit(limit))
        return [_record(*row) for row in rows]

    def _row(self, answer_id: str) -> FeedbackEntry | None:
        return self._session.scalar(
            select(FeedbackEntry)
            .where(
                FeedbackEntry.answer_id == answer_id,
                FeedbackEntry.owner == self._owner,
                FeedbackEntry.workspace_id == self._workspace,
            )
            .with_for_update()
        )

    def _begun(self, answer_id: str, collection_id: str) -> FeedbackEntry:
        """A row to be filled in. Raises NotFound for an answer that is being deleted at the same moment."""
        now = utc_now()
        row = FeedbackEntry(
            id=new_id("fbk"),
            workspace_id=self._workspace,
            collection_id=collection_id,
            answer_id=answer_id,
            owner=self._owner,
            correct=True,
            comment=None,
            wrong_citations=[],
            created_at=now,
            updated_at=now,
        )
        try:
            with self._session.begin_nested():
                self._session.add(row)
            return row
        except IntegrityError:  # said twice at the same moment, or the answer is gone meanwhile
            there = self._row(answer_id)
            if there is None:
                raise NotFound(f"There is no answer {answer_id!r}.", code="answer_not_found") from None
            return there

    def _shown(self) -> Select[FeedbackEntry, str, str]:
        return (
            select(FeedbackEntry, Answer.question, Collection.name)
            .join(Answer, Answer.id == FeedbackEntry.answer_id)
            .join(Collection, Collection.id == FeedbackEntry.collection_id)
            .where(FeedbackEntry.workspace_id == self._workspace)
        )


def _record(row: FeedbackEntry, question: str, collection: str) -> FeedbackRow:
    return FeedbackRow(
        row.id,
        row.answer_id,
        question,
        collection,
        row.owner,
        row.correct,
        row.comment,
        tuple(row.wrong_citations),
        row.created_at,
        row.updated_at,
    )
