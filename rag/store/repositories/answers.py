"""Stored recipes of answers."""

from __future__ import annotations

from typing import Any

from sqlalchemy import delete, select

from rag.errors import NotFound
from rag.ids import new_id
from rag.store.records import AnswerRow
from rag.store.scope import Repository, utc_now
from rag.store.tables import Answer


class Answers(Repository):
    """Answers of one workspace, newest first."""

    def add(self, question: str, recipe: dict[str, Any], *, answer_id: str | None = None) -> AnswerRow:
        """Keep how an answer was made. `recipe` holds ids, offsets and seeds, never text of a document."""
        row = Answer(
            id=answer_id or new_id("ans"),
            workspace_id=self._workspace,
            created_at=utc_now(),
            question=question,
            recipe=recipe,
        )
        self._session.add(row)
        self._session.flush()
        return _record(row)

    def get(self, answer_id: str) -> AnswerRow:
        """Raises NotFound (`answer_not_found`)."""
        row = self._session.scalar(
            select(Answer).where(Answer.id == answer_id, Answer.workspace_id == self._workspace)
        )
        if row is None:
            raise NotFound(f"there is no answer {answer_id!r}", code="answer_not_found")
        return _record(row)

    def list(self, *, limit: int = 100, before: str | None = None) -> list[AnswerRow]:
        """Up to `limit` answers; `before` is the id of the last one of the page before."""
        query = select(Answer).where(Answer.workspace_id == self._workspace)
        if before is not None:
            query = query.where(Answer.id < before)
        return [_record(row) for row in self._session.scalars(query.order_by(Answer.id.desc()).limit(limit))]

    def delete(self, answer_id: str) -> None:
        """Raises NotFound (`answer_not_found`)."""
        self.get(answer_id)
        self._session.execute(
            delete(Answer).where(Answer.id == answer_id, Answer.workspace_id == self._workspace)
        )


def _record(row: Answer) -> AnswerRow:
    return AnswerRow(row.id, row.created_at, row.question, row.recipe)
