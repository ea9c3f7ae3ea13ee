"""Layouts of collections over shards: read with every search of a cluster, changed a version at a time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from sqlalchemy import CursorResult, bindparam, delete, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from rag.errors import Conflict
from rag.shards.placement import Layout
from rag.store.layouts import ShardLayout
from rag.store.repositories.collections import Collections
from rag.store.scope import Repository, fetch, utc_now

_ROW = ShardLayout.__table__.c
_FIND = select(_ROW.version, _ROW.layout).where(
    _ROW.collection_id == bindparam("collection"), _ROW.workspace_id == bindparam("workspace")
)


class Layouts(Repository):
    """Layouts of the collections of one workspace."""

    def find(self, collection_id: str) -> Layout | None:
        """The layout of a collection, None for one that is searched as a whole."""
        values = {"collection": collection_id, "workspace": self._workspace}
        row = fetch(self._session, _FIND, values).one_or_none()
        return None if row is None else Layout.of_json(row.version, row.layout)

    def all(self) -> Mapping[str, Layout]:
        """Every layout, by the collection's id."""
        rows = self._session.scalars(
            select(ShardLayout)
            .where(ShardLayout.workspace_id == self._workspace)
            .order_by(ShardLayout.collection_id)
        )
        return {row.collection_id: Layout.of_json(row.version, row.layout) for row in rows}

    def put(self, collection_id: str, layout: Layout) -> None:
        """Let a layout follow the one with the version before it, or be the first.

        Raises NotFound (`collection_not_found`), Conflict (`layout_changed`) where another one came first.
        """
        Collections(self._session, self._scope).get(collection_id)
        kept = {"version": layout.version, "layout": layout.as_json(), "updated_at": utc_now()}
        if layout.version == 1:
            row = ShardLayout(collection_id=collection_id, workspace_id=self._workspace, **kept)
            try:
                with self._session.begin_nested():
                    self._session.add(row)
            except IntegrityError:
                raise _changed(collection_id) from None
            return
        before = (ShardLayout.workspace_id == self._workspace) & (ShardLayout.version == layout.version - 1)
        done = self._session.execute(
            update(ShardLayout).where(ShardLayout.collection_id == collection_id, before).values(**kept)
        )
        if cast(CursorResult[Any], done).rowcount != 1:
            raise _changed(collection_id)

    def remove(self, collection_id: str) -> None:
        """Let the collection be searched as a whole again. Raises NotFound (`collection_not_found`)."""
        Collections(self._session, self._scope).get(collection_id)
        self._session.execute(
            delete(ShardLayout).where(
                ShardLayout.collection_id == collection_id, ShardLayout.workspace_id == self._workspace
            )
        )


def laid_out(session: Session) -> list[tuple[str, str]]:
    """The collections of the whole store that are in shards, each after its workspace: to keep them up."""
    query = select(ShardLayout.workspace_id, ShardLayout.collection_id).order_by(ShardLayout.collection_id)
    return [(workspace, collection) for workspace, collection in session.execute(query)]


def _changed(collection_id: str) -> Conflict:
    return Conflict(
        f"the shards of collection {collection_id!r} were changed by somebody else meanwhile; look at "
        "`longleaf shards status` and try again",
        code="layout_changed",
    )
