"""Types of request values: text that both databases can store, numbers within range, plain JSON."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import AfterValidator, Field, PlainSerializer, TypeAdapter, ValidationError, WithJsonSchema

from ingest.uploads import METADATA_LIMIT, check_metadata
from rag.errors import InvalidRequest, NotFound
from rag.filters import parse_filter
from rag.store.repositories.collections import NAME_PATTERN, check_collection_name

MAX_SEED = 2**63 - 1
_AFTER_MARK = "_[0-9a-hjkmnp-tv-z]{26}"
_ID = re.compile(f"(doc|ans){_AFTER_MARK}")

TEXT_PATTERN = r"^[^\x00]*[^\s\x00][^\x00]*$"


_MAX_QUESTION = 8000
_MAX_COMMENT = 2000


def id_pattern(mark: str) -> str:
    """The form of ids with that mark, such as "doc" (`rag.ids.new_id`)."""
    return f"^{mark}{_AFTER_MARK}$"


def _check_name(name: str) -> str:
    try:
        return check_collection_name(name)
    except InvalidRequest as refused:
        raise ValueError(refused.detail) from refused


def _check_text(text: str) -> str:
    if not text.strip() or "\0" in text:
        raise ValueError("text is needed, without NUL characters")
    return text


CollectionName = Annotated[
    str,
    AfterValidator(_check_name),
    Field(
        description="Name of a collection: printable, without slashes, not beginning with a dot.",
        examples=["default", "contracts"],
        json_schema_extra={"minLength": 1, "maxLength": 100, "pattern": NAME_PATTERN},
    ),
]

Question = Annotated[
    str,
    Field(
        max_length=_MAX_QUESTION,
        examples=["How long is the notice period?"],
        json_schema_extra={"minLength": 1, "pattern": TEXT_PATTERN},
    ),
    AfterValidator(_check_text),
]

Comment = Annotated[
    str,
    Field(
        max_length=_MAX_COMMENT,
        json_schema_extra={"minLength": 1, "pattern": TEXT_PATTERN},
    ),
    AfterValidator(_check_text),
]

Time = Annotated[
    datetime,
    PlainSerializer(
        lambda value: value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        return_type=str,
        when_used="json",
    ),
]


def _check_filter(value: dict[str, Any]) -> dict[str, Any]:
    parse_filter(value)  # its InvalidRequest has a code of its own and passes through pydantic as it is
    return value


_SCALAR: dict[str, Any] = {
    "anyOf": [
        {"type": "string", "pattern": r"^[^\x00]*$"},
        {"type": "integer", "minimum": -(2**53), "maximum": 2**53},
        {"type": "number"},
        {"type": "boolean"},
        {"type": "null"},
    ]
}
_ORDERED: dict[str, Any] = {"anyOf": _SCALAR["anyOf"][:3]}
_COMPARISON: dict[str, Any] = {
    "type": "object",
    "minProperties": 1,
    "additionalProperties": False,
    "properties": {
        "$eq": _SCALAR,
        "$ne": _SCALAR,
        "$in": {"type": "array", "items": _SCALAR, "maxItems": 1000},
        "$nin": {"type": "array", "items": _SCALAR, "maxItems": 1000},
        "$gt": _ORDERED,
        "$gte": _ORDERED,
        "$lt": _ORDERED,
        "$lte": _ORDERED,
    },
}
_FIELDS: dict[str, Any] = {
    "type": "object",
    "maxProperties": 20,
    "properties": {
        name: {"type": "string", "pattern": r"^[^\x00]*$"}
        for name in ("document_id", "title", "filename", "media_type")
    },
    # other names are keys of the metadata; `created_at` is compared with times
    "patternProperties": {
        r"^(?!\$|document_id$|title$|filename$|media_type$|created_at$)[A-Za-z_][A-Za-z0-9_ -]*$": {
            "anyOf": [*_SCALAR["anyOf"], _COMPARISON]
        }
    },
    "additionalProperties": False,
}


def _with_time(schema: dict[str, Any]) -> dict[str, Any]:
    time = {"type": "string", "format": "date-time"}
    properties = schema["properties"] | {"created_at": time}
    return schema | {"properties": properties}


def _filter_schema() -> dict[str, Any]:
    leaf = _with_time(_FIELDS)
    several = {"type": "array", "items": leaf, "minItems": 1}
    return leaf | {
        "properties": leaf["properties"] | {"$and": several, "$or": several, "$not": leaf},
        "description": (
            "Which documents to read: fields of the document (`document_id`, `title`, `filename`, "
            "`media_type`, `created_at`) or keys of its metadata, compared by "
            "`$eq $ne $in $nin $gt $gte $lt $lte` and joined by `$and`, `$or`, `$not`, which nest. "
            "Several members must all hold."
        ),
        "examples": [{"year": {"$gte": 2023}, "$or": [{"team": "legal"}, {"filename": "terms.pdf"}]}],
    }


Filters = Annotated[
    dict[str, Any], AfterValidator(_check_filter), WithJsonSchema(_filter_schema(), mode="validation")
]


def collection_name(value: str | None) -> str:
    """Return the name of the collection that a form or a header names, by default `default`.

    Raises InvalidRequest (`invalid_collection_name`).
    """
    try:
        return TypeAdapter[str](CollectionName).validate_python(value or "default")
    except ValidationError as error:
        message = str(error.errors()[0]["msg"]).removeprefix("Value error, ")
        raise InvalidRequest(f"collection: {message}", code="invalid_collection_name") from None


def parse_metadata(text: str) -> dict[str, Any]:
    """Parse the form field `metadata`.

    Raises InvalidRequest (`invalid_metadata`) for text that is no JSON object, is larger than 64 KiB, nests
    deeper than 8, or holds what a database can't keep.
    """
    if len(text.encode("utf-8", "replace")) > METADATA_LIMIT:
        raise _bad_metadata(f"it has more than {METADATA_LIMIT:,} bytes")
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _bad_metadata(f"it is not JSON ({error})") from None
    if not isinstance(value, dict):
        raise _bad_metadata('it is not a JSON object such as {"year": 2024}')
    check_metadata(value)
    return value


def _bad_metadata(what: str) -> InvalidRequest:
    printable = what.encode("utf-8", "replace").decode()
    return InvalidRequest(f"The field metadata can't be taken: {printable}.", code="invalid_metadata")


def answer_id(value: str) -> str:
    """Return an id as it may be looked up. Raises NotFound for text that can be no answer's id."""
    if not _ID.fullmatch(value):
        raise NotFound(f"There is no answer {value[:60]!r}.", code="answer_not_found")
    return value


def document_id(value: str) -> str:
    """Return an id as it may be looked up. Raises NotFound for text that can be no document's id."""
    if not _ID.fullmatch(value):
        raise NotFound(f"There is no document {value[:60]!r}.", code="document_not_found")
    return value
