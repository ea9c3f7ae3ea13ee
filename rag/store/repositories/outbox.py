"""What is to be sent to webhooks now, of all workspaces: for who sends it, and nobody else."""

from __future__ import annotations

import random
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Select, delete, func, select, update
from sqlalchemy.orm import Session

from rag.store.hooked import Due
from rag.store.webhooks import Webhook, WebhookDelivery

BACKOFF_SECONDS = (5, 60, 300, 1800, 7200, 18_000, 36_000, 36_000)
"""Waits before the second and each later attempt: a little over a day in all."""
ATTEMPTS = len(BACKOFF_SECONDS) + 1
HELD_SECONDS = 60
"""How long an address is another sender's; more than one attempt can take."""
REST_SECONDS = 5
"""How long an address that failed is left alone."""
PATIENCE = timedelta(days=3)
"""A webhook to which nothing got through for so long is disabled."""
KEPT = timedelta(days=30)
"""How long it is shown what was sent."""


class Outbox:
    """Messages of every workspace."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def is_due(self, now: datetime) -> bool:
        """Whether there is something to be sent."""
        return self._session.scalar(_ready(now).limit(1)) is not None

    def waiting(self) -> int:
        """How many messages are still to be sent, or to be sent again."""
        pending = WebhookDelivery.status == "pending"
        return self._session.scalar(select(func.count()).select_from(WebhookDelivery).where(pending)) or 0

    def take(self, now: datetime, most: int) -> list[Due]:
        """The oldest due message of up to `most` webhooks, each then held; counts the attempt."""
        found: list[Due] = []
        for hook in self._session.scalars(_ready(now).limit(most).with_for_update(skip_locked=True)):
            row = self._session.scalar(
                select(WebhookDelivery)
                .where(WebhookDelivery.webhook_id == hook.id, *_due(now))
                .order_by(WebhookDelivery.not_before, WebhookDelivery.id)
                .limit(1)
            )
            if row is None:
                continue
            hook.resting_until = now + timedelta(seconds=HELD_SECONDS)
            row.attempts += 1
            # a process that dies now has used up this attempt, and another one follows
            row.not_before = now + timedelta(seconds=max(HELD_SECONDS, _wait(row.attempts)))
            old = hook.old_secret if hook.old_until is not None and hook.old_until > now else None
            secrets = (hook.secret,) if old is None else (hook.secret, old)
            found.append(Due(row.id, hook.id, hook.url, secrets, row.body))
        return found

    def delivered(self, due: Due, now: datetime, answered: int) -> None:
        """It got through."""
        self._settle(due, now, status="delivered", answered=answered, error=None)
        self._session.execute(
            update(Webhook).where(Webhook.id == due.webhook_id).values(failing_since=None, resting_until=None)
        )

    def release(self, due: Due, now: datetime) -> None:
        """It was not sent after all: somebody else may, and the attempt does not count."""
        row = self._session.get(WebhookDelivery, due.id)
        hook = self._session.get(Webhook, due.webhook_id)
        if row is not None and hook is not None:
            row.attempts, row.not_before, hook.resting_until = max(0, row.attempts - 1), now, None

    def failed(
        self, due: Due, now: datetime, *, answered: int | None, error: str | None, gone: bool = False
    ) -> None:
        """It did not: another attempt follows, or none after the last, or where the address is `gone`."""
        row = self._session.get(WebhookDelivery, due.id)
        hook = self._session.get(Webhook, due.webhook_id)
        if row is None or hook is None:
            return  # deleted meanwhile
        last = row.attempts >= ATTEMPTS or gone
        wait = timedelta(seconds=0 if last else _wait(row.attempts) * random.uniform(1.0, 1.1))
        values = {"status": "failed" if last else "pending", "not_before": now + wait}
        self._settle(due, now, answered=answered, error=error, **values)
        hook.failing_since = hook.failing_since or now
        hook.resting_until = now + timedelta(seconds=REST_SECONDS)
        if gone or now - hook.failing_since >= PATIENCE:
            hook.disabled_at, hook.disabled_because = now, "gone" if gone else "failing"
            self._session.execute(
                update(WebhookDelivery)
                .where(WebhookDelivery.webhook_id == hook.id, WebhookDelivery.status == "pending")
                .values(status="failed", error="disabled", updated_at=now)
            )

    def forget_old(self, now: datetime) -> None:
        """Drop what was sent, or given up, long ago."""
        self._session.execute(
            delete(WebhookDelivery).where(
                WebhookDelivery.status != "pending", WebhookDelivery.updated_at < now - KEPT
            )
        )

    def _settle(self, due: Due, now: datetime, **values: object) -> None:
        self._session.execute(
            update(WebhookDelivery).where(WebhookDelivery.id == due.id).values(updated_at=now, **values)
        )


def _due(now: datetime) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return WebhookDelivery.status == "pending", WebhookDelivery.not_before <= now


def _ready(now: datetime) -> Select[Webhook]:
    waiting = select(WebhookDelivery.id).where(WebhookDelivery.webhook_id == Webhook.id, *_due(now)).exists()
    return (
        select(Webhook)
        .where(
            waiting,
            Webhook.disabled_at.is_(None),
            Webhook.resting_until.is_(None) | (Webhook.resting_until <= now),
        )
        .order_by(Webhook.id)
    )


def _wait(attempts: int) -> int:
    return BACKOFF_SECONDS[min(attempts, len(BACKOFF_SECONDS)) - 1]
