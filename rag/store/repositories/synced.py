"""Which document stands for which file of a mirrored folder."""

from __future__ import annotations

import builtins
from collections.abc import Collection, Iterable

from sqlalchemy import bindparam, delete, func, insert, select, update

from rag.store.records import SyncedRow
from rag.store.repositories.collections import Collections
from rag.store.scope import Repository
from rag.store.tables import SyncedFile

_ROWS = 500


class SyncedFiles(Repository):
    """Files of mirrored folders, of the collections of one workspace.

    A folder is known by its `root`, a name; a path is relative to it. A row goes with its document.
    """

    def list(self, collection_id: str, root: str) -> builtins.list[SyncedRow]:
        """Every file of a folder that is known, by path. Raises NotFound (`collection_not_found`)."""
        Collections(self._session, self._scope).get(collection_id)
        query = select(SyncedFile).where(SyncedFile.collection_id == collection_id, SyncedFile.root == root)
        return [
            SyncedRow(row.path, row.document_id, row.sha256, row.bytes, row.mtime_ns)
            for row in self._session.scalars(query.order_by(SyncedFile.path))
        ]

    def roots(self, collection_id: str) -> dict[str, int]:
        """The folders that are mirrored into a collection, with how many files of each. Raises NotFound."""
        Collections(self._session, self._scope).get(collection_id)
        query = (
            select(SyncedFile.root, func.count().label("files"))
            .where(SyncedFile.collection_id == collection_id)
            .group_by(SyncedFile.root)
            .order_by(SyncedFile.root)
        )
        return {row.root: row.files for row in self._session.execute(query)}

    def held_elsewhere(self, collection_id: str, root: str) -> frozenset[str]:
        """Documents of the collection that stand for a file of another folder as well. Raises NotFound."""
        Collections(self._session, self._scope).get(collection_id)
        query = select(SyncedFile.document_id).where(
            SyncedFile.collection_id == collection_id, SyncedFile.root != root
        )
        return frozenset(self._session.scalars(query))

    def put(self, collection_id: str, root: str, rows: Iterable[SyncedRow]) -> None:
        """Enter files, in place of what is known of their paths. Raises NotFound."""
        Collections(self._session, self._scope).get(collection_id)
        wanted = list(rows)
        self.drop(collection_id, root, [row.path for row in wanted])
        values = [
            {
                "collection_id": collection_id,
                "root": root,
                "path": row.path,
                "document_id": row.document_id,
                "sha256": row.sha256,
                "bytes": row.bytes,
                "mtime_ns": row.mtime_ns,
            }
            for row in wanted
        ]
        if values:
            self._session.execute(insert(SyncedFile), values)

    def touch(self, collection_id: str, root: str, rows: Iterable[SyncedRow]) -> None:
        """Note size and time of files that are known still, and whose documents are. Raises NotFound."""
        Collections(self._session, self._scope).get(collection_id)
        statement = (
            update(SyncedFile)
            .where(
                SyncedFile.collection_id == collection_id,
                SyncedFile.root == root,
                SyncedFile.path == bindparam("its_path"),
                SyncedFile.document_id == bindparam("its_document"),
            )
            .values(bytes=bindparam("its_bytes"), mtime_ns=bindparam("its_time"))
        )
        values = [
            {
                "its_path": row.path,
                "its_document": row.document_id,
                "its_bytes": row.bytes,
                "its_time": row.mtime_ns,
            }
            for row in rows
        ]
        if values:
            self._session.connection().execute(statement, values)

    def drop(self, collection_id: str, root: str, paths: Collection[str]) -> None:
        """Forget files; their documents stay. Raises NotFound."""
        Collections(self._session, self._scope).get(collection_id)
        listed = list(paths)
        for first in range(0, len(listed), _ROWS):
            self._session.execute(
                delete(SyncedFile).where(
                    SyncedFile.collection_id == collection_id,
                    SyncedFile.root == root,
                    SyncedFile.path.in_(listed[first : first + _ROWS]),
                )
            )
