"""Webhooks of one workspace, and what was, or is yet to be, sent to each."""

from __future__ import annotations

import base64
import builtins
import json
import secrets
from collections.abc import Sequence
from datetime import timedelta
from typing import cast

from sqlalchemy import func, select

from rag.errors import Conflict, NotFound
from rag.ids import new_id
from rag.store.hooked import DeliveryRow, DeliveryStatus, HookEvent, WebhookRow
from rag.store.scope import Repository, utc_now
from rag.store.webhooks import Webhook, WebhookDelivery

MOST = 20
"""Webhooks that a workspace may have."""
SECRET_MARK = "whsec_"  # noqa: S105 (the mark of Standard Webhooks, not a secret)
_SECRET_BYTES = 32


class Webhooks(Repository):
    """Webhooks of one workspace."""

    def list(self) -> builtins.list[WebhookRow]:
        """All of them, the newest first."""
        query = select(Webhook).where(Webhook.workspace_id == self._workspace).order_by(Webhook.id.desc())
        return [_record(row) for row in self._session.scalars(query)]

    def get(self, webhook_id: str) -> WebhookRow:
        """Raises NotFound (`webhook_not_found`)."""
        return _record(self._row(webhook_id))

    def create(self, url: str, events: Sequence[str], *, created_by: str) -> tuple[WebhookRow, str]:
        """A webhook and its secret, which nobody is shown again. Raises Conflict (`too_many_webhooks`)."""
        held = select(func.count()).select_from(Webhook).where(Webhook.workspace_id == self._workspace)
        if (self._session.scalar(held) or 0) >= MOST:
            raise Conflict(
                f"A workspace has at most {MOST} webhooks; delete one first.", code="too_many_webhooks"
            )
        row = Webhook(
            id=new_id("whk"),
            workspace_id=self._workspace,
            url=url,
            events=sorted(set(events)),
            secret=_new_secret(),
            created_at=utc_now(),
            created_by=created_by,
        )
        self._session.add(row)
        self._session.flush()
        return _record(row), row.secret

    def change(
        self,
        webhook_id: str,
        *,
        url: str | None = None,
        events: Sequence[str] | None = None,
        disabled: bool | None = None,
    ) -> WebhookRow:
        """Change what is given; one that was disabled and is let go on begins afresh. Raises NotFound."""
        row = self._row(webhook_id)
        if url is not None:
            row.url = url
        if events is not None:
            row.events = sorted(set(events))
        if disabled is False or url is not None:
            row.failing_since = row.resting_until = None
        if disabled is False:
            row.disabled_at = row.disabled_because = None
        elif disabled and row.disabled_at is None:
            row.disabled_at, row.disabled_because = utc_now(), "by_hand"
        self._session.flush()
        return _record(row)

    def rotate(self, webhook_id: str, grace: timedelta) -> tuple[WebhookRow, str]:
        """Another secret; the one before signs beside it for `grace` more. Raises NotFound."""
        row = self._row(webhook_id)
        row.old_secret, row.old_until, row.secret = row.secret, utc_now() + grace, _new_secret()
        self._session.flush()
        return _record(row), row.secret

    def delete(self, webhook_id: str) -> None:
        """Delete a webhook with all that was or is to be sent to it. Raises NotFound."""
        self._session.delete(self._row(webhook_id))
        self._session.flush()

    def announce(
        self,
        event: HookEvent,
        document_id: str,
        collection_id: str,
        *,
        generation: int,
        code: str | None = None,
    ) -> int:
        """Enter a message for each webhook that wants the event; returns how many. `code` is of a failure."""
        query = select(Webhook).where(Webhook.workspace_id == self._workspace, Webhook.disabled_at.is_(None))
        wanting = [row for row in self._session.scalars(query) if event in row.events]
        now = utc_now()
        data = {
            "workspace_id": self._workspace,
            "collection_id": collection_id,
            "document_id": document_id,
            "generation": generation,
        }
        if code is not None:
            data["error_code"] = code
        body = {"type": event, "timestamp": now.isoformat(), "data": data}
        for row in wanting:
            self._session.add(
                WebhookDelivery(
                    id=new_id("msg"),
                    webhook_id=row.id,
                    event=event,
                    document_id=document_id,
                    body=json.dumps(body, separators=(",", ":")),
                    status="pending",
                    attempts=0,
                    not_before=now,
                    created_at=now,
                    updated_at=now,
                )
            )
        return len(wanting)

    def deliveries(
        self,
        webhook_id: str,
        *,
        status: DeliveryStatus | None = None,
        limit: int = 100,
        before: str | None = None,
    ) -> builtins.list[DeliveryRow]:
        """Up to `limit` messages, newest first; `before` is the id of the last one of the page before.

        Raises NotFound (`webhook_not_found`).
        """
        self._row(webhook_id)
        query = select(WebhookDelivery).where(WebhookDelivery.webhook_id == webhook_id)
        if status is not None:
            query = query.where(WebhookDelivery.status == status)
        if before is not None:
            query = query.where(WebhookDelivery.id < before)
        query = query.order_by(WebhookDelivery.id.desc()).limit(limit)
        return [_delivery(row) for row in self._session.scalars(query)]

    def resend(self, webhook_id: str, delivery_id: str) -> DeliveryRow:
        """Send a message once more, with all its attempts, under the id that it has.

        Raises NotFound (`webhook_not_found`, `delivery_not_found`), Conflict (`webhook_disabled`).
        """
        hook = self._row(webhook_id)
        if hook.disabled_at is not None:
            raise Conflict(
                f"Webhook {webhook_id} is disabled; let it go on first (disabled: false).",
                code="webhook_disabled",
            )
        row = None if "\0" in delivery_id else self._session.get(WebhookDelivery, delivery_id)
        if row is None or row.webhook_id != webhook_id:
            raise NotFound(f"There is no delivery {delivery_id[:60]!r}.", code="delivery_not_found")
        row.status, row.attempts, row.not_before = "pending", 0, utc_now()
        self._session.flush()
        return _delivery(row)

    def _row(self, webhook_id: str) -> Webhook:
        row = self._held(Webhook, webhook_id)
        if row is None:
            raise NotFound(f"There is no webhook {webhook_id[:60]!r}.", code="webhook_not_found")
        return row


def _new_secret() -> str:
    return SECRET_MARK + base64.b64encode(secrets.token_bytes(_SECRET_BYTES)).decode()


def _record(row: Webhook) -> WebhookRow:
    return WebhookRow(
        row.id,
        row.url,
        tuple(row.events),
        row.created_at,
        row.created_by,
        row.disabled_at,
        row.disabled_because,
        row.failing_since,
    )


def _delivery(row: WebhookDelivery) -> DeliveryRow:
    return DeliveryRow(
        row.id,
        row.event,
        row.document_id,
        cast(DeliveryStatus, row.status),
        row.attempts,
        row.not_before,
        row.answered,
        row.error,
        row.created_at,
        row.updated_at,
    )
