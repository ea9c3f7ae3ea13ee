"""What the repositories of webhooks hand out: frozen rows that outlive their session."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, get_args

HookEvent = Literal["document.ready", "document.failed", "document.deleted"]
"""A version can be found; one can't be read; a document is gone."""
EVENTS: tuple[HookEvent, ...] = get_args(HookEvent)
DeliveryStatus = Literal["pending", "delivered", "failed"]


@dataclass(frozen=True, slots=True)
class WebhookRow:
    """A webhook without its secret. `disabled_because` is `by_hand`, `failing` or `gone`."""

    id: str
    url: str
    events: tuple[str, ...]
    created_at: datetime
    created_by: str
    disabled_at: datetime | None
    disabled_because: str | None
    failing_since: datetime | None


@dataclass(frozen=True, slots=True)
class DeliveryRow:
    """A message: how often it was tried, and how the last try ended: `answered` (HTTP), `error`."""

    id: str
    event: str
    document_id: str
    status: DeliveryStatus
    attempts: int
    not_before: datetime
    answered: int | None
    error: str | None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Due:
    """A message that is to be sent now, with the secrets that sign it."""

    id: str
    webhook_id: str
    url: str
    secrets: tuple[str, ...] = field(repr=False)
    body: str = field(repr=False)
