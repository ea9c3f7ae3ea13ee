"""Resolves a filter to the ids of the documents that it lets through: one query, alike on both databases."""

from __future__ import annotations

import operator
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import ColumnElement, Numeric, String, and_, case, cast, false, func, not_, or_, select, true
from sqlalchemy.orm import Session

from rag.filters import AllOf, AnyOf, Compare, Filter, Not
from rag.store.scope import Scope
from rag.store.tables import Collection, Document

Expression = ColumnElement[Any]
Condition = ColumnElement[bool]

_ORDERS: dict[str, Callable[[Any, Any], Any]] = {
    "$eq": operator.eq,
    "$gt": operator.gt,
    "$gte": operator.ge,
    "$lt": operator.lt,
    "$lte": operator.le,
}
_COLUMNS: dict[str, Any] = {
    "document_id": Document.id,
    "collection": select(Collection.name).where(Collection.id == Document.collection_id).scalar_subquery(),
    "title": Document.title,
    "filename": Document.filename,
    "media_type": Document.media_type,
    "created_at": Document.created_at,
}


def matching_documents(
    session: Session, scope: Scope, collection_id: str, condition: Filter
) -> frozenset[str]:
    """Return the ids of the collection's live documents for which `condition` holds."""
    dialect = session.get_bind().dialect.name
    query = select(Document.id).where(
        Document.workspace_id == scope.workspace_id,
        Document.collection_id == collection_id,
        Document.generation > 0,
        _condition(condition, dialect),
    )
    return frozenset(session.scalars(query))


def _condition(tree: Filter, dialect: str) -> Condition:
    if isinstance(tree, AllOf):
        return and_(true(), *(_condition(part, dialect) for part in tree.parts))
    if isinstance(tree, AnyOf):
        return or_(false(), *(_condition(part, dialect) for part in tree.parts))
    if isinstance(tree, Not):
        return not_(_condition(tree.part, dialect))
    return _compare(tree, dialect)


def _compare(leaf: Compare, dialect: str) -> Condition:
    if leaf.operator in {"$ne", "$nin"}:
        positive = Compare(leaf.field, "$eq" if leaf.operator == "$ne" else "$in", leaf.value)
        return not_(_compare(positive, dialect))
    if leaf.operator == "$in":
        values = leaf.value if isinstance(leaf.value, tuple) else ()
        return or_(false(), *(_compare(Compare(leaf.field, "$eq", value), dialect) for value in values))
    order = _ORDERS[leaf.operator]
    if leaf.field in _COLUMNS:
        column: Expression = _COLUMNS[leaf.field]
        if not isinstance(leaf.value, datetime) and leaf.operator != "$eq":
            column = _by_code_point(column, dialect)
        return order(column, leaf.value)  # type: ignore[no-any-return]
    return _compare_metadata(leaf.field.split("."), order, leaf.value, dialect)


def _compare_metadata(
    path: list[str], order: Callable[[Any, Any], Any], value: object, dialect: str
) -> Condition:
    """Compare a metadata value of the same JSON type; of another type, or missing, it does not match.

    The CASE keeps the database from converting what is no number.
    """
    kind, text, number, flag = _metadata(path, dialect)
    if value is None:
        return or_(kind.is_(None), kind == "null")
    if isinstance(value, bool):
        return and_(kind.is_not(None), flag == ("true" if value else "false"))
    if isinstance(value, int | float):
        wanted = cast(Decimal(repr(value)), Numeric) if dialect == "postgresql" else value
        return case((kind == "number", order(number, wanted)), else_=false())
    return case((kind == "text", order(_by_code_point(text, dialect), value)), else_=false())


def _metadata(path: list[str], dialect: str) -> tuple[Expression, Expression, Expression, Expression]:
    """Return the JSON type, the value as text, as number, and for a boolean 'true' or 'false'."""
    if dialect == "postgresql":
        inner = func.jsonb_extract_path(Document.meta, *path)
        text = func.jsonb_extract_path_text(Document.meta, *path, type_=String)
        typed = func.jsonb_typeof(inner, type_=String)
        kind: Expression = case((typed == "string", "text"), else_=typed)
        return kind, text, cast(text, Numeric), case((kind == "boolean", text), else_="")
    place = "$" + "".join(f'."{key}"' for key in path)
    raw = func.json_type(Document.meta, place, type_=String)
    kind = case((raw.in_(["integer", "real"]), "number"), else_=raw)
    extracted = func.json_extract(Document.meta, place, type_=String)
    return kind, extracted, func.json_extract(Document.meta, place, type_=Numeric), raw


def _by_code_point(text: Expression, dialect: str) -> Expression:
    """Order text as SQLite and Python do, not by the language that a PostgreSQL database was made with."""
    return text.collate("C") if dialect == "postgresql" else text
