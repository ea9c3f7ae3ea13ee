"""Where to look, and what a search finds."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, Field

from api.fields import CollectionName, Filters, Question
from api.schemas.base import Request

DocumentIds = Annotated[
    list[Annotated[str, Field(min_length=1, max_length=60)]],
    Field(
        min_length=1,
        max_length=1000,
        description="Read these documents alone. Without `collection` they may be of any, but all of one.",
    ),
]


class Scoped(Request):
    """Where to look."""

    collection: CollectionName | None = Field(
        default=None,
        description='Collection to read; "default" where neither it nor `document_ids` is given.',
    )
    document_ids: DocumentIds | None = None
    filters: Filters | None = None


class SearchRequest(Scoped):
    """What to search for, and where."""

    query: Question = Field(description="Words or a question.")
    top_k: int = Field(default=10, ge=1, le=100, description="Most results.")


class SearchResult(BaseModel):
    """A chunk that fits the query: its place, its text, and how each of the two searches ranked it."""

    chunk_id: str
    document_id: str
    document_title: str
    filename: str
    page_number: int | None = Field(description="First page, from 1; null for formats without pages.")
    page_end: int | None
    start_char_index: int
    end_char_index: int
    headings: list[str]
    text: str
    score: float = Field(description="Fused score; comparable within one search only.")
    dense_rank: int | None = Field(description="Rank by meaning, from 1; null if that search missed it.")
    dense_score: float | None
    lexical_rank: int | None = Field(
        description="Rank by words (BM25), from 1; null if that search missed it."
    )
    lexical_score: float | None


class Partial(BaseModel):
    """That a collection in shards could not be searched whole."""

    shards: int = Field(description="Shards that the collection has.")
    missing: list[int] = Field(description="Ids of those that did not answer.")


class SearchResponse(BaseModel):
    """Chunks, best first."""

    results: list[SearchResult]
    partial: Partial | None = Field(
        default=None,
        description="Which shards of the collection were not searched; null where all of it was.",
    )
