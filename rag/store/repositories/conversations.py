"""Conversations of one key or person, and those that others of the workspace have shared."""

from __future__ import annotations

import builtins

from sqlalchemy import Row, Select, delete, func, or_, select
from sqlalchemy.orm import Session

from rag.errors import Conflict, Forbidden, NotFound
from rag.ids import new_id
from rag.store.conversations import Conversation, ConversationTurn
from rag.store.records import ConversationRow
from rag.store.repositories.collections import Collections
from rag.store.repositories.workspaces import check_name
from rag.store.scope import Repository, Scope, utc_now
from rag.store.tables import Answer, Collection

MOST_TURNS = 200
"""Questions that a conversation may have."""
TITLE_LIMIT = 200
_FROM_QUESTION = 80


class Conversations(Repository):
    """What `owner` (the id of a key or user) sees of one workspace's conversations."""

    def __init__(self, session: Session, scope: Scope, owner: str) -> None:
        super().__init__(session, scope)
        self._owner = owner

    def list(self, *, limit: int = 100, before: str | None = None) -> builtins.list[ConversationRow]:
        """Their own, newest first; `before` is the id of the last one of the page before."""
        query = self._rows().where(Conversation.owner == self._owner)
        if before is not None:
            query = query.where(Conversation.id < before)
        rows = self._session.execute(query.order_by(Conversation.id.desc()).limit(limit))
        return [self._record(*row) for row in rows]

    def get(self, conversation_id: str) -> ConversationRow:
        """One of theirs, or one that was shared. Raises NotFound (`conversation_not_found`)."""
        return self._record(*self._row(conversation_id))

    def answers(self, conversation_id: str) -> builtins.list[str]:
        """Ids of its answers in their order. Raises NotFound."""
        self._row(conversation_id)
        query = select(ConversationTurn.answer_id).where(ConversationTurn.conversation_id == conversation_id)
        return [*self._session.scalars(query.order_by(ConversationTurn.number))]

    def create(self, collection_id: str, title: str = "") -> ConversationRow:
        """An empty one. Without a title it gets its first question's.

        Raises NotFound (`collection_not_found`), InvalidRequest (`invalid_name`).
        """
        Collections(self._session, self._scope).get(collection_id)
        now = utc_now()
        row = Conversation(
            id=new_id("cnv"),
            workspace_id=self._workspace,
            collection_id=collection_id,
            owner=self._owner,
            title=check_name(title, TITLE_LIMIT) if title else "",
            created_at=now,
            updated_at=now,
        )
        self._session.add(row)
        self._session.flush()
        return self.get(row.id)

    def append(self, conversation_id: str, answer_id: str, question: str) -> None:
        """Make an answer its next turn.

        Raises NotFound (`conversation_not_found`), Forbidden for one that somebody else shared, Conflict
        (`conversation_full`).
        """
        row = self._own(conversation_id)
        last = self._session.scalar(
            select(func.max(ConversationTurn.number)).where(ConversationTurn.conversation_id == row.id)
        )
        if (last or 0) >= MOST_TURNS:
            raise _full(row.id)
        self._session.add(
            ConversationTurn(conversation_id=row.id, number=(last or 0) + 1, answer_id=answer_id)
        )
        row.title = row.title or _title_of(question)
        row.updated_at = utc_now()
        self._session.flush()

    def check_may_append(self, conversation_id: str) -> ConversationRow:
        """The conversation, if a question may be asked in it. Raises as `append`."""
        found = self.get(conversation_id)
        self._check_own(found.owner)
        if found.turns >= MOST_TURNS:
            raise _full(conversation_id)
        return found

    def change(
        self, conversation_id: str, *, title: str | None = None, shared: bool | None = None
    ) -> ConversationRow:
        """Rename it, share it with the workspace, or share it no more.

        Raises NotFound, Forbidden, InvalidRequest (`invalid_name`).
        """
        row = self._own(conversation_id)
        if title is not None:
            row.title = check_name(title, TITLE_LIMIT)
        if shared is not None:
            row.shared_at = (row.shared_at or utc_now()) if shared else None
        self._session.flush()
        return self.get(conversation_id)

    def delete(self, conversation_id: str) -> None:
        """Delete it with its answers and their questions. Raises NotFound, Forbidden."""
        row = self._own(conversation_id)
        given = select(ConversationTurn.answer_id).where(ConversationTurn.conversation_id == row.id)
        self._session.execute(
            delete(Answer).where(Answer.id.in_(given), Answer.workspace_id == self._workspace)
        )
        self._session.delete(row)
        self._session.flush()

    def _own(self, conversation_id: str) -> Conversation:
        """The row, locked, of one of theirs."""
        self._check_own(self.get(conversation_id).owner)
        query = select(Conversation).where(Conversation.id == conversation_id).with_for_update()
        row = self._session.scalar(query)
        if row is None:
            raise _missing(conversation_id)
        return row

    def _check_own(self, owner: str) -> None:
        if owner != self._owner:
            raise Forbidden("This conversation is somebody else's; you can read it and not change it.")

    def _rows(self) -> Select[Conversation, str, int]:
        turns = (
            select(func.count())
            .select_from(ConversationTurn)
            .where(ConversationTurn.conversation_id == Conversation.id)
            .scalar_subquery()
        )
        return (
            select(Conversation, Collection.name, turns)
            .join(Collection, Collection.id == Conversation.collection_id)
            .where(Conversation.workspace_id == self._workspace, self._seen(Conversation.collection_id))
        )

    def _row(self, conversation_id: str) -> Row[Conversation, str, int]:
        row = None
        if "\0" not in conversation_id:  # which PostgreSQL can't be asked for
            mine = or_(Conversation.owner == self._owner, Conversation.shared_at.is_not(None))
            query = self._rows().where(Conversation.id == conversation_id, mine)
            row = self._session.execute(query).one_or_none()
        if row is None:
            raise _missing(conversation_id)
        return row

    def _record(self, row: Conversation, collection: str, turns: int) -> ConversationRow:
        return ConversationRow(
            row.id,
            row.collection_id,
            collection,
            row.owner,
            row.title,
            row.created_at,
            row.updated_at,
            row.shared_at,
            turns,
        )


def _title_of(question: str) -> str:
    shown = "".join(each for each in " ".join(question.split()) if each.isprintable())
    return shown[:_FROM_QUESTION].strip()


def _missing(conversation_id: str) -> NotFound:
    return NotFound(f"There is no conversation {conversation_id[:60]!r}.", code="conversation_not_found")


def _full(conversation_id: str) -> Conflict:
    return Conflict(
        f"Conversation {conversation_id} has {MOST_TURNS} questions, which is the most; begin another one.",
        code="conversation_full",
    )
