"""Collections: named sets of documents with one embedder."""

from __future__ import annotations

import re
from dataclasses import fields
from functools import cache, partial
from typing import Any, Literal, cast

from sqlalchemy import ColumnElement, Select, bindparam, delete, func, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from rag.errors import Conflict, InvalidRequest, NotFound, TooLarge
from rag.ids import new_id
from rag.store.records import CollectionRow, Status
from rag.store.scope import Repository, of_scope, utc_now
from rag.store.tables import Collection, Document, Version

_OUTER = r"\x00-\x20\x7f-\xa0\u2028\u2029/\\"
_INNER = r"\x00-\x1f\x7f-\x9f\u2028\u2029/\\"
NAME_PATTERN = rf"^[^{_OUTER}.]([^{_INNER}]{{0,98}}[^{_OUTER}])?$"
"""A collection's name goes into addresses and folders: hence no slash and no dot before it."""
_NAME = re.compile(NAME_PATTERN)
Limit = Literal["max_documents", "max_bytes"]
LEAST_BUDGET, MOST_BUDGET = 64, 2**31 - 1


def check_collection_name(name: str) -> str:
    """Return a name that a collection may have. Raises InvalidRequest (`invalid_collection_name`)."""
    if not _NAME.fullmatch(name) or not name.isprintable():
        raise InvalidRequest(
            f"{name[:100]!r} can't be a collection's name: it has 1 to 100 printable characters, no slash, "
            "no space at its ends, and does not begin with a dot",
            code="invalid_collection_name",
        )
    return name


class Collections(Repository):
    """Collections of one workspace."""

    def list(self) -> list[CollectionRow]:
        """All of them, by name."""
        mine = (Collection.workspace_id == self._workspace, self._seen(Collection.id))
        query = select(Collection).where(*mine).order_by(Collection.name)
        return [_record(row) for row in self._session.scalars(query)]

    def get(self, collection_id: str) -> CollectionRow:
        """Raises NotFound (`collection_not_found`)."""
        found = self._one("id", collection_id)
        if found is None:
            raise NotFound(f"there is no collection {collection_id!r}", code="collection_not_found")
        return found

    def find(self, name: str) -> CollectionRow | None:
        """The collection called `name`, or None. Raises Forbidden."""
        return self._one("name", name)

    def _one(self, by: Literal["id", "name"], value: str) -> CollectionRow | None:
        """The collection whose column has that value, if this scope sees it. Raises Forbidden."""
        row = self._fetch(partial(_one_by, by), value=value).one_or_none()
        if row is None:
            return None
        self._permit(row.id)
        return CollectionRow(*row)

    def by_name(self, name: str) -> CollectionRow:
        """Raises NotFound (`collection_not_found`)."""
        found = self.find(name)
        if found is None:
            raise NotFound(f"there is no collection named {name!r}", code="collection_not_found")
        return found

    def create(self, name: str, embedder: str) -> CollectionRow:
        """Make a collection bound to the embedder with this fingerprint.

        Raises Conflict (`duplicate_collection`) for a name that is taken, InvalidRequest as
        `check_collection_name` does, Forbidden for who may not do so in the whole workspace.
        """
        self._permit_all("make collections")
        check_collection_name(name)
        row = Collection(
            id=new_id("col"),
            workspace_id=self._workspace,
            name=name,
            embedder=embedder,
            created_at=utc_now(),
        )
        try:
            with self._session.begin_nested():
                self._session.add(row)
        except IntegrityError as error:
            raise Conflict(
                f"there is already a collection named {name!r}", code="duplicate_collection"
            ) from error
        return _record(row)

    def ensure(self, name: str, embedder: str) -> CollectionRow:
        """The collection called `name`, made if there is none; its embedder may be another one.

        Raises InvalidRequest as `create` does.
        """
        found = self.find(name)
        if found is not None:
            return found
        try:
            return self.create(name, embedder)
        except Conflict:  # somebody else made it between the two statements
            return self.by_name(name)

    def set_budget(self, collection_id: str, tokens: int | None) -> CollectionRow:
        """Set the most tokens of documents that an answer reads; None leaves it to the settings.

        Raises NotFound; InvalidRequest (`invalid_budget`) for fewer than `LEAST_BUDGET` tokens.
        """
        if tokens is not None and not LEAST_BUDGET <= tokens <= MOST_BUDGET:
            raise InvalidRequest(
                f"a budget of {tokens} tokens can't be used: take {LEAST_BUDGET} to {MOST_BUDGET}",
                code="invalid_budget",
            )
        self._session.execute(
            update(Collection)
            .where(Collection.id == collection_id, Collection.workspace_id == self._workspace)
            .values(max_context_tokens=tokens)
        )
        return self.get(collection_id)

    def set_limit(self, collection_id: str, name: Limit, most: int | None) -> None:
        """Set how many documents, or bytes of originals, may be added up to; None for no limit.

        What is there already stays. Raises NotFound.
        """
        self.get(collection_id)
        self._session.execute(
            update(Collection).where(Collection.id == collection_id).values({getattr(Collection, name): most})
        )

    def lock_if_limited(self, collection_id: str) -> None:
        """`lock` the collection where it has limits, so that two uploads can't pass one together.

        Raises NotFound.
        """
        row = self.get(collection_id)
        if row.max_documents is not None or row.max_bytes is not None:
            self.lock(collection_id)

    def check_limits(self, collection_id: str) -> None:
        """Look whether what this transaction entered is within the limits.

        Raises Conflict (`too_many_documents`), TooLarge (`collection_too_large`), NotFound.
        """
        row = self.get(collection_id)
        if row.max_documents is not None:
            count = select(func.count()).where(Document.collection_id == collection_id)
            documents = self._session.scalar(count) or 0
            if documents > row.max_documents:
                raise Conflict(
                    f"collection {row.name!r} would have {documents} documents, its limit is "
                    f"{row.max_documents}; delete some or raise max_documents",
                    code="too_many_documents",
                    extra={"limit": row.max_documents},
                )
        if row.max_bytes is not None:
            held = originals_bytes(self._session, Document.collection_id == collection_id)
            if held > row.max_bytes:
                raise TooLarge(
                    f"the originals of collection {row.name!r} would have {held:,} bytes, its limit is "
                    f"{row.max_bytes:,}; delete some or raise max_bytes",
                    code="collection_too_large",
                    extra={"limit": row.max_bytes},
                )

    def lock(self, collection_id: str) -> CollectionRow:
        """Keep others from adding documents until the transaction ends. Raises NotFound."""
        self._session.execute(
            select(Collection.id)
            .where(Collection.id == collection_id, Collection.workspace_id == self._workspace)
            .with_for_update()
        )
        return self.get(collection_id)

    def share(self, collection_id: str) -> CollectionRow:
        """Keep the collection from being deleted until the transaction ends, before any of its documents is
        locked. Raises NotFound."""
        self._session.execute(
            select(Collection.id)
            .where(Collection.id == collection_id, Collection.workspace_id == self._workspace)
            .with_for_update(read=True, key_share=True)
        )
        return self.get(collection_id)

    def require_embedder(self, collection_id: str, embedder: str) -> None:
        """Raise Conflict (`embedder_mismatch`) unless the collection's vectors are this embedder's; NotFound.

        It stays so to the end of a transaction that holds one of the collection's documents.
        """
        bound = self.get(collection_id)
        if bound.embedder != embedder:
            raise Conflict(
                f"collection {bound.name!r} has vectors of {bound.embedder} by now, this worker makes those "
                f"of {embedder}; set LONGLEAF_EMBEDDER to the collection's and retry",
                code="embedder_mismatch",
            )

    def delete(self, collection_id: str) -> None:
        """Delete an empty collection; `ingest.deletion` empties it first. Raises NotFound."""
        self.get(collection_id)
        self._session.execute(
            delete(Collection).where(
                Collection.id == collection_id, Collection.workspace_id == self._workspace
            )
        )

    def counts(self, collection_id: str) -> dict[Status, int]:
        """How many documents are in each status; those with none are left out. Raises NotFound."""
        self.get(collection_id)
        query = (
            select(Document.status, func.count())
            .where(Document.collection_id == collection_id, Document.workspace_id == self._workspace)
            .group_by(Document.status)
        )
        return {cast(Status, status): count for status, count in self._session.execute(query)}


def owner_of(session: Session, collection_id: str) -> str | None:
    """The workspace of a collection, for what the service does by itself; None where it is gone."""
    return session.scalar(select(Collection.workspace_id).where(Collection.id == collection_id))


def originals_bytes(session: Session, which: ColumnElement[bool]) -> int:
    """Bytes of the originals of documents, those of a version on its way in place of the present one's."""
    size = session.scalar(
        select(func.sum(func.coalesce(Version.bytes, Document.bytes)))
        .select_from(Document)
        .outerjoin(
            Version,
            (Version.document_id == Document.id)
            & (Version.generation > Document.generation)
            & (Version.status != "superseded"),
        )
        .where(which)
    )
    return int(size or 0)


_TABLE = Collection.__table__.c
_FIELDS = tuple(field.name for field in fields(CollectionRow))


@cache
def _one_by(name: str, restricted: bool) -> Select[*tuple[Any, ...]]:
    """The collection of a workspace by a column of that name, among those that are `visible`."""
    columns = (_TABLE[field] for field in _FIELDS)
    return select(*columns).where(
        _TABLE[name] == bindparam("value"), of_scope(_TABLE.workspace_id, _TABLE.id, restricted)
    )


def _record(row: Collection) -> CollectionRow:
    return CollectionRow(*(getattr(row, field) for field in _FIELDS))
