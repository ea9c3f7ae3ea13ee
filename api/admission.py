"""Lines that do not grow without end: beyond their length a request is refused at once, and nothing of it was
begun. What was let in is finished."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from contextlib import nullcontext

from starlette.types import ASGIApp, Receive, Scope, Send

from api.errors import problem_of
from api.lanes import Lane, lane_of
from api.middleware import refuse
from api.threads import shortly
from api.wiring import ANSWER_THREADS, Service
from ingest import queue
from rag.errors import Unavailable

SEARCH_THREADS = 40
"""Requests that the server's threads work on at a time (anyio's default)."""
SEARCHES_AT_ONCE = max(4, 2 * (os.cpu_count() or 1))
"""Searches that are worked on at a time. More would finish none sooner: they would share the cores, and the
interpreter's lock with the loop that has to refuse others at once."""
_RETRY_SECONDS = 2


class Admission:
    """Lets in as many requests of each lane as are worked on at a time and may wait."""

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self.app = app
        self._service = service
        settings = service.settings
        self.most: dict[Lane, int] = {
            "questions": ANSWER_THREADS + settings.max_waiting,
            "searches": SEARCH_THREADS + settings.max_waiting,
            "uploads": settings.max_uploads,
        }
        self._inside: Counter[Lane] = Counter()
        self._turns = asyncio.Semaphore(SEARCHES_AT_ONCE)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run one request (ASGI)."""
        lane = lane_of(scope["method"], scope["path"]) if scope["type"] == "http" else None
        if lane is None:
            await self.app(scope, receive, send)
            return
        # all on one event loop: nobody comes between the look and the count
        if self._inside[lane] >= self.most[lane]:
            await _overloaded(f"Too many {lane} are waiting; try again soon.", scope, receive, send)
            return
        self._inside[lane] += 1
        try:
            if lane == "uploads" and await self._queue_is_full():
                detail = "Too many documents are waiting to be read; try again later."
                await _overloaded(detail, scope, receive, send)
                return
            async with self._turns if lane == "searches" else nullcontext():
                await self.app(scope, receive, send)
        finally:
            self._inside[lane] -= 1

    async def _queue_is_full(self) -> bool:
        most = self._service.settings.max_queued_documents
        return bool(most) and await shortly(queue.length, self._service.db, most) >= most


async def _overloaded(detail: str, scope: Scope, receive: Receive, send: Send) -> None:
    error = Unavailable(detail, code="overloaded", extra={"retry_after": _RETRY_SECONDS})
    await refuse(problem_of(error, scope["path"]), scope, receive, send)
