"""Filters on documents: parsed from JSON into a frozen tree, turned into SQL on both databases.

The language is the one that vector databases share: `{"field": value}`, `{"field": {"$gte": 3}}`, `$and`,
`$or`, `$not`; several members of one object must all hold. Fields are those of the document
(`document_id`, `collection` by its name, `title`, `filename`, `media_type`, `created_at`) or keys of its
metadata, nested ones as `a.b`. A document without the field matches no comparison except `$ne` and `$nin`;
numbers compare with numbers, text with text, so dates in metadata are best written as ISO 8601.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from rag.errors import InvalidRequest

Scalar = str | int | float | bool | None
Operator = Literal["$eq", "$ne", "$in", "$nin", "$gt", "$gte", "$lt", "$lte"]

DOCUMENT_FIELDS = ("document_id", "collection", "title", "filename", "media_type", "created_at")
_OPERATORS: tuple[Operator, ...] = ("$eq", "$ne", "$in", "$nin", "$gt", "$gte", "$lt", "$lte")
_MAX_NODES = 200
_MAX_DEPTH = 10
_MAX_LIST = 1000
_MAX_INTEGER = 1 << 53  # beyond it JSON numbers are not exact


@dataclass(frozen=True)
class Compare:
    """`field operator value`; the value is a tuple for `$in` and `$nin`, a datetime for `created_at`."""

    field: str
    operator: Operator
    value: Scalar | datetime | tuple[Scalar | datetime, ...]


@dataclass(frozen=True)
class AllOf:
    """Every part holds; without parts it always holds."""

    parts: tuple[Filter, ...]


@dataclass(frozen=True)
class AnyOf:
    """At least one part holds."""

    parts: tuple[Filter, ...]


@dataclass(frozen=True)
class Not:
    """The part does not hold."""

    part: Filter


Filter = Compare | AllOf | AnyOf | Not


def parse_filter(value: object) -> Filter:
    """Parse the `filters` member of a request.

    Raises InvalidRequest (`invalid_filter`) whose detail and `extra["path"]` name the place, e.g.
    `filters.$or[1].year.$gte`.
    """
    return _Parser().condition(value, "filters", 0)


def _refuse(path: str, problem: str) -> InvalidRequest:
    return InvalidRequest(f"{path}: {problem}", code="invalid_filter", extra={"path": path})


class _Parser:
    def __init__(self) -> None:
        self._nodes = 0

    def condition(self, value: object, path: str, depth: int) -> Filter:
        if not isinstance(value, Mapping):
            raise _refuse(path, f'expected an object such as {{"year": 2024}}, not {_show(value)}')
        if depth > _MAX_DEPTH:
            raise _refuse(path, f"filters can be nested {_MAX_DEPTH} deep")
        parts: list[Filter] = []
        for key, inner in value.items():
            parts += self._member(str(key), inner, path, depth)
        return parts[0] if len(parts) == 1 else AllOf(tuple(parts))

    def _member(self, key: str, inner: object, path: str, depth: int) -> list[Filter]:
        here = f"{path}.{key}"
        self._nodes += 1
        if self._nodes > _MAX_NODES:
            raise _refuse(path, f"a filter can have {_MAX_NODES} conditions")
        if key in {"$and", "$or"}:
            if not isinstance(inner, list) or not inner:
                raise _refuse(here, f"expected a list with at least one condition, not {_show(inner)}")
            parts = tuple(
                self.condition(item, f"{here}[{index}]", depth + 1) for index, item in enumerate(inner)
            )
            return [AllOf(parts) if key == "$and" else AnyOf(parts)]
        if key == "$not":
            return [Not(self.condition(inner, here, depth + 1))]
        if key.startswith("$"):
            raise _refuse(here, "there is no such operator here; use $and, $or, $not or the name of a field")
        if any(not part for part in key.split(".")) or any(c in '"\\' or not c.isprintable() for c in key):
            raise _refuse(
                here, "the name of a field can not be empty or hold quotes, backslashes or control characters"
            )
        if not isinstance(inner, Mapping):
            return [self._compare(key, "$eq", inner, here)]
        if not inner:
            raise _refuse(here, f"expected a value or one of {', '.join(_OPERATORS)}")
        return [self._compare(key, str(name), operand, f"{here}.{name}") for name, operand in inner.items()]

    def _compare(self, field: str, operator: str, operand: object, path: str) -> Compare:
        if operator not in _OPERATORS:
            raise _refuse(path, f"unknown operator; use one of {', '.join(_OPERATORS)}")
        known = operator
        if known in {"$in", "$nin"}:
            if not isinstance(operand, list) or len(operand) > _MAX_LIST:
                raise _refuse(path, f"expected a list of at most {_MAX_LIST} values, not {_show(operand)}")
            self._nodes += len(operand) // 10
            return Compare(
                field, known, tuple(_scalar(field, item, f"{path}[{i}]") for i, item in enumerate(operand))
            )
        value = _scalar(field, operand, path)
        if known not in {"$eq", "$ne"} and (value is None or isinstance(value, bool)):
            raise _refuse(path, f"{_show(operand)} has no order; give a number, text or time")
        return Compare(field, known, value)


def _scalar(field: str, value: object, path: str) -> Scalar | datetime:
    if field == "created_at":
        return _time(value, path)
    if field in DOCUMENT_FIELDS and not isinstance(value, str):
        raise _refuse(path, f"{field} is compared with text, not {_show(value)}")
    if isinstance(value, str):
        if "\0" in value or any("\ud800" <= c <= "\udfff" for c in value):
            raise _refuse(path, "the text has characters that no document field can have")
        return value
    if isinstance(value, float) and not math.isfinite(value):
        raise _refuse(path, f"{value} is no number that can be compared")
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > _MAX_INTEGER:
        raise _refuse(path, f"whole numbers are compared up to {_MAX_INTEGER}")
    if value is None or isinstance(value, bool | int | float):
        return value
    raise _refuse(path, f"expected text, a number, true, false or null, not {_show(value)}")


def _time(value: object, path: str) -> datetime:
    try:
        if not isinstance(value, str):
            raise ValueError
        moment = datetime.fromisoformat(value)
        return (moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment).astimezone(UTC)
    except (ValueError, OverflowError):
        raise _refuse(path, f'expected a time such as "2024-05-01T00:00:00Z", not {_show(value)}') from None


def _show(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
