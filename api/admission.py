"""Lines that do not grow without end: beyond their length a request is refused at once, and nothing of it was
begun. What was let in is finished."""

from __future__ import annotations

import asyncio
import os
from contextlib import AsyncExitStack

from starlette.types import ASGIApp, Receive, Scope, Send

from api.errors import problem_of
from api.lanes import Lane, lane_of
from api.lines import PICTURES_AT_ONCE
from api.middleware import refuse
from api.threads import shortly
from api.wiring import Service
from rag.errors import Unavailable

SEARCHES_AT_ONCE = max(4, 2 * (os.cpu_count() or 1))
"""Searches that are worked on at a time. More would finish none sooner: they would share the cores, and the
interpreter's lock with the loop that has to refuse others at once."""


class Door:
    """Turns away before it is asked who comes: where a lane is full, that costs more than the refusal.

    It keeps no place, so that nobody who is not known can take one: `Admission`, behind it, does.
    """

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self.app = app
        self._lines = service.lines

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run one request (ASGI)."""
        lane = lane_of(scope["method"], scope["path"]) if scope["type"] == "http" else None
        if lane is not None:
            try:
                self._lines.check(lane)
            except Unavailable as error:
                await refuse(problem_of(error, scope["path"]), scope, receive, send)
                return
        await self.app(scope, receive, send)


class Admission:
    """Lets in as many requests of each lane as are worked on at a time and may wait."""

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self.app = app
        self._lines = service.lines
        self._turns: dict[Lane, asyncio.Semaphore] = {
            "searches": asyncio.Semaphore(SEARCHES_AT_ONCE),
            "pictures": asyncio.Semaphore(PICTURES_AT_ONCE),
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run one request (ASGI)."""
        lane = lane_of(scope["method"], scope["path"]) if scope["type"] == "http" else None
        if lane is None:
            await self.app(scope, receive, send)
            return
        async with AsyncExitStack() as held:
            try:
                held.enter_context(self._lines.inside(lane))
                if lane == "uploads" and self._lines.bounds_queue:
                    await shortly(self._lines.check_queue)
            except Unavailable as error:
                await refuse(problem_of(error, scope["path"]), scope, receive, send)
                return
            if (turns := self._turns.get(lane)) is not None:
                await held.enter_async_context(turns)
            await self.app(scope, receive, send)
