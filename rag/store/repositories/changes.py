"""The log of what became live and what was deleted, in the order in which it was committed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, cast

from sqlalchemy import Table, bindparam, func, insert, or_, select, update
from sqlalchemy.orm import Session

from rag.errors import NotFound
from rag.store.records import ChangeRow
from rag.store.scope import Repository, fetch, utc_now
from rag.store.tables import Change, Collection, StoreState

Kind = Literal["publish", "delete", "reembed"]


@dataclass(frozen=True, slots=True)
class Latest:
    """A collection's name, its embedder's fingerprint, and the number of its last change, 0 without any."""

    name: str
    embedder: str
    seq: int


class Changes(Repository):
    """What derived indexes follow. Within one collection `seq` rises, with gaps left by other collections.

    A reader that has seen number n will never see a smaller one appear: the counter's row stays locked from
    `append` to the end of its transaction, so append last.
    """

    def append(
        self, collection_id: str, document_id: str, generation: int, kind: Literal["publish", "delete"]
    ) -> int:
        """Write an entry and return its number. Raises NotFound (`collection_not_found`)."""
        self._guard(collection_id)
        return self._append(collection_id, document_id, generation, kind)

    def rebuild(self, collection_id: str) -> int:
        """Note that vectors were exchanged under the generations that are live, by which an index would not
        know; returns the entry's number. Raises NotFound (`collection_not_found`)."""
        self._guard(collection_id)
        return self._append(collection_id, "", 0, "reembed")

    def _append(self, collection_id: str, document_id: str, generation: int, kind: Kind) -> int:
        self._session.flush()
        seq: int = self._session.connection().execute(_NEXT).scalar_one()
        values = {
            "seq": seq,
            "collection_id": collection_id,
            "document_id": document_id,
            "generation": generation,
            "kind": kind,
            "created_at": utc_now(),
        }
        self._session.connection().execute(insert(_CHANGES), values)
        return seq

    def after(self, collection_id: str, seq: int, limit: int = 1000) -> list[ChangeRow]:
        """Up to `limit` entries with a number above `seq`, in order.

        Raises NotFound (`collection_not_found`), also once the collection is deleted.
        """
        self._guard(collection_id)
        query = (
            select(Change)
            .where(Change.collection_id == collection_id, Change.seq > seq)
            .order_by(Change.seq)
            .limit(limit)
        )
        return [
            ChangeRow(
                row.seq,
                row.collection_id,
                row.document_id,
                row.generation,
                cast(Kind, row.kind),
                row.created_at,
            )
            for row in self._session.scalars(query)
        ]

    def latest(self, collection_id: str) -> Latest:
        """How a collection stands, by one statement: what every search asks first. Raises NotFound."""
        values = {"collection": collection_id, "workspace": self._workspace}
        row = fetch(self._session, _LATEST, values).one_or_none()
        if row is None:
            raise NotFound(f"there is no collection {collection_id!r}", code="collection_not_found")
        return Latest(*row)

    def newest(self, collection_id: str) -> int:
        """The number of the last entry of the collection, 0 without any. Raises NotFound."""
        return self.latest(collection_id).seq

    def _guard(self, collection_id: str) -> None:
        found = self._session.scalar(
            select(Collection.id).where(
                Collection.id == collection_id, Collection.workspace_id == self._workspace
            )
        )
        if found is None:
            raise NotFound(f"there is no collection {collection_id!r}", code="collection_not_found")


_STATE, _CHANGES = cast(Table, StoreState.__table__), cast(Table, Change.__table__)
_NEXT = update(_STATE).values(change_seq=_STATE.c.change_seq + 1).returning(_STATE.c.change_seq)
_OF_COLLECTION, _OF_CHANGE = Collection.__table__.c, Change.__table__.c
_LATEST = select(
    _OF_COLLECTION.name,
    _OF_COLLECTION.embedder,
    func.coalesce(
        select(func.max(_OF_CHANGE.seq))
        .where(_OF_CHANGE.collection_id == bindparam("collection"))
        .scalar_subquery(),
        0,
    ),
).where(_OF_COLLECTION.id == bindparam("collection"), _OF_COLLECTION.workspace_id == bindparam("workspace"))


def dropped_after(session: Session, seq: int | None) -> tuple[int, list[str]]:
    """The number of the newest entry, and the ids of the documents of all workspaces that were deleted or got
    another text by an entry above `seq`; none without one. For caches, which hold text by document alone."""
    newest = session.scalars(select(StoreState.change_seq)).one()
    if seq is None or newest <= seq:
        return newest, []
    query = (
        select(Change.document_id)
        .where(
            Change.seq > seq, or_(Change.kind == "delete", Change.generation > 1), Change.document_id != ""
        )
        .distinct()
    )
    return newest, list(session.scalars(query.order_by(Change.document_id)))
