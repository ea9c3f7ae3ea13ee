"""Watching a document while it is read."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

from fastapi import APIRouter, Response
from starlette.concurrency import run_in_threadpool

from api import serialize
from api.access import Reads
from api.errors import problem_of
from api.routes.shared import NO_DOCUMENT, load_document, problems
from api.sse import EventStream, ServerEvent, stream_schema
from rag.store.records import FINAL_STATUSES, DocumentRow

router = APIRouter(prefix="/documents", tags=["documents"])

POLL_SECONDS = 0.25
_EVENTS: dict[str, Any] = {
    "description": "Events `status` with the document, until it and a newer version of it are in a final "
    "state; `error` with a problem.",
    "content": stream_schema("status", "error"),
}


@router.get(
    "/{id}/events",
    summary="Watch a document",
    response_class=Response,
    responses={200: _EVENTS, **problems(s404=NO_DOCUMENT)},
)
async def events(service: Reads, id: str) -> EventStream:
    """Server-sent events `status` with the document, whenever it changed, until its state is final and no
    newer version of it is on its way."""
    row = await run_in_threadpool(load_document, service, id)
    path = f"/documents/{id}/events"

    async def changes(seen: DocumentRow) -> AsyncGenerator[ServerEvent]:
        while not _settled(seen) and not service.stopping.is_set():
            await asyncio.sleep(POLL_SECONDS)
            now = await run_in_threadpool(load_document, service, id)
            if now != seen:
                seen = now
                yield _status_event(now)

    return EventStream(
        changes(row),
        first=_status_event(row),
        on_error=lambda error: ServerEvent("error", problem_of(error, path)),
    )


def _settled(row: DocumentRow) -> bool:
    """Whether nothing of it is on its way, a newer version included."""
    newer = row.updating
    return row.status in FINAL_STATUSES and (newer is None or newer.status in FINAL_STATUSES)


def _status_event(row: DocumentRow) -> ServerEvent:
    return ServerEvent("status", serialize.document(row).model_dump(mode="json"))
