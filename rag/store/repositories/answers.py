"""Stored recipes of answers, and their words while their sources exist."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from sqlalchemy import ColumnElement, delete, insert, or_, select, true, update
from sqlalchemy.orm import Session

from rag.errors import NotFound
from rag.ids import new_id
from rag.store.records import AnswerRow
from rag.store.scope import Repository, utc_now
from rag.store.tables import Answer, AnswerSource, Collection, Document


class Answers(Repository):
    """Answers of one workspace, newest first."""

    def add(
        self,
        question: str,
        recipe: dict[str, Any],
        *,
        answer_id: str | None = None,
        words: Mapping[str, Any] | None = None,
        sources: Mapping[str, int] | None = None,
    ) -> AnswerRow:
        """Keep how an answer was made. `recipe` holds ids, offsets and seeds, never text of a document.

        `words` may hold some. They are kept only while each of the `sources` is live: documents by their
        generation, or a collection with generation 0, which stands for each of its documents.
        """
        sources = dict(sources or {})
        if words is not None and not self._live(sources):
            words = None
        row = Answer(
            id=answer_id or new_id("ans"),
            workspace_id=self._workspace,
            created_at=utc_now(),
            question=question,
            recipe=recipe,
            words=None if words is None else json.dumps(words, ensure_ascii=False),
        )
        self._session.add(row)
        self._session.flush()
        if words is not None and sources:
            rows = [
                {"answer_id": row.id, "source_id": source, "generation": generation}
                for source, generation in sorted(sources.items())
            ]
            self._session.execute(insert(AnswerSource), rows)
        return _record(row)

    def _live(self, sources: Mapping[str, int]) -> bool:
        """Whether each source is as it was; it then stays so until the transaction ends."""
        documents = {source: generation for source, generation in sources.items() if generation}
        query = (
            select(Document.id, Document.generation)
            .where(Document.id.in_(documents), Document.workspace_id == self._workspace)
            .order_by(Document.id)
            .with_for_update(read=True)
        )
        found = {row.id: row.generation for row in self._session.execute(query)}
        collections = select(Collection.id).where(
            Collection.id.in_(set(sources) - set(documents)), Collection.workspace_id == self._workspace
        )
        there = set(self._session.scalars(collections))
        return found == documents and there == set(sources) - set(documents)

    def get(self, answer_id: str) -> AnswerRow:
        """Raises NotFound (`answer_not_found`)."""
        row = self._session.scalar(
            select(Answer).where(
                Answer.id == answer_id, Answer.workspace_id == self._workspace, self._readable()
            )
        )
        if row is None:
            raise NotFound(f"there is no answer {answer_id!r}", code="answer_not_found")
        return _record(row)

    def list(self, *, limit: int = 100, before: str | None = None) -> list[AnswerRow]:
        """Up to `limit` answers; `before` is the id of the last one of the page before."""
        query = select(Answer).where(Answer.workspace_id == self._workspace, self._readable())
        if before is not None:
            query = query.where(Answer.id < before)
        return [_record(row) for row in self._session.scalars(query.order_by(Answer.id.desc()).limit(limit))]

    def delete(self, answer_id: str) -> None:
        """Raises NotFound (`answer_not_found`)."""
        self.get(answer_id)
        self._session.execute(
            delete(Answer).where(Answer.id == answer_id, Answer.workspace_id == self._workspace)
        )

    def _readable(self) -> ColumnElement[bool]:
        """The condition that an answer came from a collection which this scope sees."""
        visible = self._scope.visible
        if visible is None:
            return true()
        recipe = Answer.recipe  # older ones have no `request`
        asked = (recipe["request"]["collection_id"], recipe["collection_id"])
        return or_(*(each.as_string().in_(sorted(visible)) for each in asked))


def _record(row: Answer) -> AnswerRow:
    words = None if row.words is None else json.loads(row.words)
    return AnswerRow(row.id, row.created_at, row.question, row.recipe, words)


def withdraw(session: Session, document_id: str, collection_id: str, *, keep: int | None = None) -> None:
    """Take the words of every answer that may hold some of a document, or of its generations but `keep`."""
    mine = AnswerSource.source_id == document_id
    if keep is not None:
        mine = mine & (AnswerSource.generation != keep)
    touched = select(AnswerSource.answer_id).where(or_(mine, AnswerSource.source_id == collection_id))
    session.execute(update(Answer).where(Answer.id.in_(touched)).values(words=None))
