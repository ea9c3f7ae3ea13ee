"""The audit log as it is shown."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from pydantic import BaseModel, Field, PlainSerializer

ExactTime = Annotated[
    datetime,
    PlainSerializer(
        lambda value: value.astimezone(UTC).isoformat(timespec="microseconds"),
        return_type=str,
        when_used="json",
    ),
]
"""To the microsecond: the hash of an entry is over its time too."""


class AuditEntry(BaseModel):
    """What somebody did, by ids alone."""

    seq: int = Field(description="Number in the workspace's log, from 1 and without gaps.")
    at: ExactTime
    workspace: str = Field(description="Id of the workspace; `service` for what concerns the whole service.")
    actor: str = Field(description="Id of the key or user; `command line` for a verb.")
    action: str = Field(description="Method and route, tool of MCP, or verb.")
    target: str = Field(description="Ids of what it was done to, between spaces.")
    status: int = Field(description="HTTP status of the answer; 0 for a verb.")
    request_id: str
    previous: str = Field(description="Hash of the entry before; zeros for the first.")
    hash: str = Field(description="SHA-256 over all of the above.")


class AuditEntries(BaseModel):
    """Entries in the order in which they were written."""

    entries: list[AuditEntry]
    next_cursor: int | None = Field(description="`cursor` of the next page; null on the last.")
