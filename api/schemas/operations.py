"""Health, readiness, versions."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field


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
