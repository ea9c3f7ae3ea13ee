"""A request whose key is revoked, or whose browser is signed out, while it is worked on: it ends then.

Whoever asked is looked up again every second that a request lasts. When they are not known any more, or may
do something else than before, the request's work is told that its client has gone, which it listens for
anyway, and a stream says why it ends.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import suppress

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import problem_of
from api.middleware import refuse
from api.sse import ClientGone, ServerEvent
from api.v1.errors import concerns, error_of
from rag.errors import LongleafError, Unauthenticated
from rag.principal import Principal

POLL_SECONDS = 1.0
"""How soon a revocation is noticed."""
_GONE: Message = {"type": "http.disconnect"}


async def while_known(
    app: ASGIApp,
    scope: Scope,
    receive: Receive,
    send: Send,
    look_up: Callable[[], Awaitable[Principal | None]],
) -> None:
    """Run a request of somebody known, as long as `look_up` finds the same one."""
    request = _Request(scope, receive, send)
    watcher = asyncio.create_task(request.watch(look_up))
    try:
        await app(scope, request.receive, request.send)
    except (ClientGone, ClientDisconnect):
        if not request.over.is_set():
            raise
    finally:
        watcher.cancel()
        with suppress(asyncio.CancelledError):
            await watcher
    if request.over.is_set():
        await request.end()


class _Request:
    """One request: what has been sent of its answer, and whether it is over before its time."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.over = asyncio.Event()
        self._scope = scope
        self._receive = receive
        self._send = send
        self._read = self._started = self._finished = self._events = False

    async def watch(self, look_up: Callable[[], Awaitable[Principal | None]]) -> None:
        """Set `over` once somebody else is found than began, or nobody."""
        before = _rights(self._scope["state"]["principal"])
        while True:
            await asyncio.sleep(POLL_SECONDS)
            try:
                found = _rights(await look_up())
            except Unauthenticated:
                found = None
            except LongleafError:
                continue  # the store does not answer: that says nothing of the key
            if found != before:
                self.over.set()
                return

    async def receive(self) -> Message:
        """What the client sends; that it has gone, once it is over."""
        if self.over.is_set():
            return _GONE
        if not self._read:  # a body comes piece by piece: no watch beside each of them
            message = await self._receive()
            self._read = not message.get("more_body", False)
            return message
        coming, over = asyncio.ensure_future(self._receive()), asyncio.ensure_future(self.over.wait())
        try:
            await asyncio.wait({coming, over}, return_when=asyncio.FIRST_COMPLETED)
            return coming.result() if coming.done() else _GONE
        finally:
            for task in (coming, over):
                task.cancel()

    async def send(self, message: Message) -> None:
        """Send on; raises ClientGone for the rest of an answer that is over."""
        if message["type"] == "http.response.start":
            self._started = True
            kind = Headers(raw=message["headers"]).get("content-type", "")
            self._events = kind.startswith("text/event-stream")
        elif message["type"] == "http.response.body":
            if self.over.is_set():
                raise ClientGone
            self._finished = not message.get("more_body", False)
        await self._send(message)

    async def end(self) -> None:
        """Say why: as the answer, or as the last event of a stream. What else has begun is cut off."""
        error = Unauthenticated(
            "The key was revoked, has expired or may do something else by now.", code="invalid_key"
        )
        problem = problem_of(error, self._scope["path"])
        if not self._started:
            await refuse(problem, self._scope, self._receive, self._send)
        elif self._events and not self._finished:
            if concerns(self._scope["path"]):
                told = f"data: {json.dumps(error_of(problem))}\n\n".encode()
            else:
                told = ServerEvent("error", problem).encode()
            await self._send({"type": "http.response.body", "body": told, "more_body": False})


def _rights(principal: Principal | None) -> tuple[object, ...] | None:
    if principal is None:
        return None
    return principal.id, principal.role, dict(principal.collections), principal.operator
