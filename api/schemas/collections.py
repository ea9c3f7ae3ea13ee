"""Collections."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, Field

from api.fields import CollectionName, Time
from api.schemas.base import Request


class NewCollection(Request):
    """A collection to be made."""

    name: CollectionName


Budget = Annotated[int, Field(ge=64, le=2**31 - 1)]


Limit = Annotated[int, Field(ge=0, le=2**53)]


class CollectionChange(Request):
    """What is to change of a collection; a member that is left out stays as it is."""

    max_context_tokens: Budget | None = Field(
        default=None, description="Most tokens of documents that are read; null leaves it to the setting."
    )
    max_documents: Limit | None = Field(default=None, description="Most documents; null for no limit.")
    max_bytes: Limit | None = Field(
        default=None, description="Most bytes of all originals together; null for no limit."
    )


class Reembedding(BaseModel):
    """Vectors of another embedding model that are being built beside those in use."""

    embedder: str = Field(description="Fingerprint of the model to come.")
    chunks_done: int
    chunks_total: int


class Collection(BaseModel):
    """A collection: documents that are searched together, with vectors of one embedding model."""

    id: str
    name: str
    embedder: str = Field(description="Fingerprint of the embedding model.")
    documents: int
    documents_by_status: dict[str, int]
    max_context_tokens: int | None = Field(
        description="Most tokens of documents that are read for an answer; null where the setting holds."
    )
    max_documents: int | None = Field(description="Most documents that are taken in; null for no limit.")
    max_bytes: int | None = Field(description="Most bytes of all originals together; null for no limit.")
    reembedding: Reembedding | None = Field(
        description="How far vectors of another model are (`longleaf reembed`); null where none are built."
    )
    created_at: Time


class CollectionList(BaseModel):
    """All collections, by name."""

    collections: list[Collection]
