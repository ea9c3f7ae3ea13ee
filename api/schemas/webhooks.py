"""Webhooks: addresses that are told of events, and what was sent to them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from api.fields import Time
from api.schemas.base import Request
from rag.store.hooked import EVENTS, HookEvent

Url = Annotated[
    str,
    Field(
        min_length=8,
        max_length=2000,
        examples=["https://example.org/hooks/longleaf"],
        pattern=r"^https?://.+",
    ),
]
Events = Annotated[list[HookEvent], Field(min_length=1, max_length=len(EVENTS))]


class NewWebhook(Request):
    """A webhook to be made."""

    url: Url = Field(description="Where messages are sent, by POST.")
    events: Events = Field(default=[*EVENTS], description="What it is told of.")


class WebhookChange(Request):
    """What is to change of a webhook; what is left out stays."""

    url: Url | None = None
    events: Events | None = None
    disabled: bool | None = Field(
        default=None, description="Whether nothing is sent to it; false lets it go on."
    )


class WebhookRotation(Request):
    """A webhook is to have another secret."""

    grace_hours: Annotated[float, Field(ge=0, le=720)] = Field(
        default=24.0, description="How long messages are signed with the secret of before as well."
    )


class Webhook(BaseModel):
    """A webhook, without its secret."""

    id: str
    url: str
    events: list[str]
    created_at: Time
    created_by: str
    disabled_at: Time | None
    disabled_because: str | None = Field(
        description="`by_hand`, `failing` for three days, or `gone` (HTTP 410)."
    )
    failing_since: Time | None = Field(description="Since when nothing got through.")


class WebhookWithSecret(Webhook):
    """A webhook with its secret, which is shown this once."""

    secret: str = Field(description="Signs messages as Standard Webhooks has it; begins with `whsec_`.")


class WebhookList(BaseModel):
    """Webhooks of the workspace, newest first."""

    webhooks: list[Webhook]


class Delivery(BaseModel):
    """A message and what became of it."""

    id: str = Field(description="The `webhook-id` that it is sent under, each time.")
    event: str
    document_id: str
    status: Literal["pending", "delivered", "failed"]
    attempts: int
    answered: int | None = Field(description="HTTP status of the last answer.")
    error: str | None = Field(
        description="Why the last attempt failed: `status`, `timeout`, `connection`, `tls`, `unresolved`, "
        "`address_not_allowed`, `disabled`, `internal`."
    )
    created_at: Time
    updated_at: Time
    next_attempt_at: Time | None = Field(description="When it is tried again; null if it is not.")


class DeliveryList(BaseModel):
    """Messages of a webhook, newest first."""

    deliveries: list[Delivery]
    next_cursor: str | None = Field(description="For `cursor`, where there are more; else null.")
