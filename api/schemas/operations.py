"""Health, readiness, versions, and what is going on."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from api.fields import Time


class Health(BaseModel):
    """The process answers."""

    status: Literal["ok"] = "ok"


class Readiness(BaseModel):
    """Which parts are ready: `ok`, or the reason why not."""

    ready: bool
    checks: dict[str, str] = Field(
        examples=[{"database": "ok", "schema": "ok", "embedder": "ok", "engine": "loading", "worker": "ok"}]
    )


class Version(BaseModel):
    """Versions of the service and its models."""

    name: Literal["longleaf"] = "longleaf"
    version: str
    schema_revision: str = Field(description="Database schema that this version needs.")
    model: str | None = Field(description="Fingerprint of the generator; null until it is loaded.")
    embedder: str | None = Field(description="Fingerprint of the embedding model; null until it is loaded.")


class QueueState(BaseModel):
    """Documents on their way in, of all processes on this store."""

    jobs: dict[str, int] = Field(description="By state; those with none are left out.")
    oldest_seconds: float = Field(description="How long the oldest job waits that a worker could take.")
    lost: int = Field(description="Running jobs whose worker was not heard of until its lease ran out.")
    threads: int = Field(description="Threads of this process that take jobs.")


class StoreState(BaseModel):
    """What the whole store holds."""

    workspaces: int
    collections: int
    documents: dict[str, int] = Field(description="By status; those with none are left out.")
    failed: dict[str, int] = Field(description="Documents that failed, by code.")
    chunks: int
    bytes: int = Field(description="Of originals.")
    database_bytes: int


class IndexState(BaseModel):
    """Indexes that this process has in memory."""

    collections: int
    chunks: int


class DiskState(BaseModel):
    """The file system of the data folder."""

    total_bytes: int
    free_bytes: int


class TierState(BaseModel):
    """What was read, kept below the engine's pool."""

    bytes: int
    limit_bytes: int
    hits: int = Field(description="Blocks that were found there.")


class EngineState(BaseModel):
    """The engine of this process. Counts run since it was loaded."""

    model: str
    device: str
    dtype: str
    weights: str
    running: int = Field(description="Requests that are worked on.")
    waiting: int = Field(description="Requests that wait for room.")
    block_tokens: int = Field(description="Tokens that a block of the KV pool holds.")
    blocks: int
    blocks_free: int
    blocks_cached: int = Field(description="Blocks whose content can be found again, used or free.")
    prompt_tokens: int = Field(description="Of the prompts that were begun.")
    cached_tokens: int = Field(description="Those of them that were not read again.")
    new_tokens: int = Field(description="Written.")
    reading_seconds: float
    writing_seconds: float
    preemptions: int
    drafted: int = Field(description="Tokens that were guessed.")
    accepted: int = Field(description="Guessed tokens that were right.")
    tiers: dict[str, TierState] = Field(description="`memory` and `disk`, as far as there are.")


class Operations(BaseModel):
    """What the process that answers does and holds."""

    at: Time
    version: str
    schema_revision: str
    database: str = Field(description="`sqlite` or `postgresql`.")
    embedder: str | None = Field(description="Fingerprint; null until it is loaded.")
    checks: dict[str, str] = Field(description="As of `/readyz`.")
    queue: QueueState
    store: StoreState
    index: IndexState
    disk: DiskState
    engine: EngineState | None = Field(description="Null until it is loaded.")
