"""Webhooks of a workspace: for its admins."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Query

from api import schemas
from api.access import Administers
from api.fields import id_pattern
from api.routes.shared import Limit, page, problems
from api.webhooks.addresses import checked_url
from rag.store.hooked import DeliveryRow, DeliveryStatus, WebhookRow
from rag.store.repositories import Webhooks

router = APIRouter(prefix="/webhooks", tags=["webhooks"])

_NO_WEBHOOK = "There is no such webhook."


@router.get("", response_model=schemas.WebhookList, summary="List webhooks")
def list_webhooks(service: Administers) -> schemas.WebhookList:
    """All webhooks, newest first, without their secrets."""
    with service.db.read() as session:
        rows = Webhooks(session, service.scope).list()
    return schemas.WebhookList(webhooks=[_shown(row) for row in rows])


@router.post(
    "",
    status_code=201,
    response_model=schemas.WebhookWithSecret,
    summary="Make a webhook",
    responses=problems(s409="The workspace has as many as it may (`too_many_webhooks`)."),
)
def create(service: Administers, body: schemas.NewWebhook) -> schemas.WebhookWithSecret:
    """Make a webhook. Its secret is in this answer and is not shown again."""
    url = checked_url(body.url, private=service.settings.webhook_private_addresses)
    with service.db.session() as session:
        row, secret = Webhooks(session, service.scope).create(url, body.events, created_by=service.asker)
    service.deed.of(row.id)
    return schemas.WebhookWithSecret(**_shown(row).model_dump(), secret=secret)


@router.patch(
    "/{id}", response_model=schemas.Webhook, summary="Change a webhook", responses=problems(s404=_NO_WEBHOOK)
)
def change(service: Administers, id: str, body: schemas.WebhookChange) -> schemas.Webhook:
    """Change its address or events, disable it, or let it go on."""
    url = None
    if body.url is not None:
        url = checked_url(body.url, private=service.settings.webhook_private_addresses)
    with service.db.session() as session:
        row = Webhooks(session, service.scope).change(id, url=url, events=body.events, disabled=body.disabled)
    return _shown(row)


@router.delete("/{id}", status_code=204, summary="Delete a webhook", responses=problems(s404=_NO_WEBHOOK))
def delete(service: Administers, id: str) -> None:
    """Delete it, with what was and what is yet to be sent to it."""
    with service.db.session() as session:
        Webhooks(session, service.scope).delete(id)


@router.post(
    "/{id}/rotate",
    response_model=schemas.WebhookWithSecret,
    summary="Give a webhook another secret",
    responses=problems(s404=_NO_WEBHOOK),
)
def rotate(service: Administers, id: str, body: schemas.WebhookRotation) -> schemas.WebhookWithSecret:
    """Give it another secret. For a while messages are signed with the one of before as well."""
    with service.db.session() as session:
        row, secret = Webhooks(session, service.scope).rotate(id, timedelta(hours=body.grace_hours))
    return schemas.WebhookWithSecret(**_shown(row).model_dump(), secret=secret)


@router.get(
    "/{id}/deliveries",
    response_model=schemas.DeliveryList,
    summary="List messages",
    responses=problems(s404=_NO_WEBHOOK),
)
def deliveries(
    service: Administers,
    id: str,
    status: Annotated[DeliveryStatus | None, Query(description="Only those in this state.")] = None,
    limit: Limit = 100,
    cursor: Annotated[
        str | None,
        Query(pattern=id_pattern("msg"), description="`next_cursor` of the page before."),
    ] = None,
) -> schemas.DeliveryList:
    """What was sent in the last thirty days, or is yet to be, newest first."""
    with service.db.read() as session:
        rows = Webhooks(session, service.scope).deliveries(id, status=status, limit=limit + 1, before=cursor)
    found, after = page(rows, limit)
    return schemas.DeliveryList(deliveries=[_delivery(row) for row in found], next_cursor=after)


@router.post(
    "/{id}/deliveries/{delivery}/send",
    status_code=202,
    response_model=schemas.Delivery,
    summary="Send a message again",
    responses=problems(
        s404="There is no such webhook or message.", s409="The webhook is disabled (`webhook_disabled`)."
    ),
)
def send(service: Administers, id: str, delivery: str) -> schemas.Delivery:
    """Send a message once more, under the id that it has, with all its attempts."""
    with service.db.session() as session:
        row = Webhooks(session, service.scope).resend(id, delivery)
    return _delivery(row)


def _shown(row: WebhookRow) -> schemas.Webhook:
    return schemas.Webhook(
        id=row.id,
        url=row.url,
        events=list(row.events),
        created_at=row.created_at,
        created_by=row.created_by,
        disabled_at=row.disabled_at,
        disabled_because=row.disabled_because,
        failing_since=row.failing_since,
    )


def _delivery(row: DeliveryRow) -> schemas.Delivery:
    return schemas.Delivery(
        id=row.id,
        event=row.event,
        document_id=row.document_id,
        status=row.status,
        attempts=row.attempts,
        answered=row.answered,
        error=row.error,
        created_at=row.created_at,
        updated_at=row.updated_at,
        next_attempt_at=row.not_before if row.status == "pending" else None,
    )
