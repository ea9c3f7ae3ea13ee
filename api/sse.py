"""Server-sent events, and work in threads that ends when the client is gone."""

from __future__ import annotations

import asyncio
import contextvars
import json
import threading
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator, Mapping
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from fastapi import Response
from fastapi.sse import format_sse_event
from starlette.types import Receive, Scope, Send

T = TypeVar("T")

HEARTBEAT_SECONDS = 10.0
_HEARTBEAT = format_sse_event(comment="heartbeat")


def stream_schema(*events: str) -> dict[str, Any]:
    """The `content` of a response that is a stream of these events."""
    members = {"event": {"type": "string", "enum": [*events]}, "data": {"type": "string"}}
    schema = {"type": "object", "properties": members, "required": ["event", "data"]}
    return {"text/event-stream": {"schema": schema}}


class ClientGone(Exception):
    """The client closed its connection; nobody is there to be answered."""


@dataclass(frozen=True)
class ServerEvent:
    """One event: its type, and its data, which are sent as JSON."""

    event: str
    data: Mapping[str, Any]

    def encode(self) -> bytes:
        """Return the event as it goes over the wire."""
        text = json.dumps(self.data, ensure_ascii=False, separators=(",", ":"))
        return format_sse_event(event=self.event, data_str=text)


class Sendable(Protocol):
    """An event of any form that knows how it goes over the wire."""

    def encode(self) -> bytes: ...


class _End:
    """Closes the queue between thread and event loop, with the error that ended the work, if any."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error


async def iterate_in_thread(
    executor: Executor, work: Callable[[threading.Event], Iterator[T]]
) -> AsyncGenerator[T]:
    """Run the iterator `work(cancel)` in a thread and yield what it yields.

    `cancel` is set when this generator is closed or its task is cancelled; `work` has to look at it.
    """
    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[T | _End] = asyncio.Queue()
    cancel = threading.Event()

    def put(item: T | _End) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody listens any more
            loop.call_soon_threadsafe(queue.put_nowait, item)

    def pump() -> None:
        try:
            if not cancel.is_set():
                for item in work(cancel):
                    put(item)
                    if cancel.is_set():
                        break
        except BaseException as error:
            put(_End(error))
        else:
            put(_End())

    executor.submit(contextvars.copy_context().run, pump)
    try:
        while True:
            item = await queue.get()
            if isinstance(item, _End):
                if item.error is not None:
                    raise item.error
                return
            yield item
    finally:
        cancel.set()


async def until_gone(receive: Receive) -> None:
    """Return when the client has closed its connection; the request's body must have been read."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def unless_gone(receive: Receive, work: Coroutine[Any, Any, T]) -> T:
    """Return the result of `work`; cancel it and raise ClientGone when the client leaves before."""
    task = asyncio.create_task(work)
    watcher = asyncio.create_task(until_gone(receive))
    try:
        await asyncio.wait({task, watcher}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientGone
        return task.result()
    finally:
        await _cancel(task, watcher)


class EventStream(Response):
    """Sends `first`, then the events of a generator, with heartbeats; closes it when the client leaves.

    `on_error` turns an exception of the generator into the last event, as the status is already sent.
    """

    media_type = "text/event-stream"

    def __init__(
        self,
        events: AsyncGenerator[Sendable],
        *,
        first: Sendable | None = None,
        on_error: Callable[[Exception], Sendable],
        heartbeat: float = HEARTBEAT_SECONDS,
    ) -> None:
        self.status_code = 200
        self.background = None
        self.init_headers({"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        self._events = events
        self._first = first
        self._on_error = on_error
        self._heartbeat = heartbeat
        self._failed = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        """Send the stream (ASGI)."""

        async def body(content: bytes, *, more: bool = True) -> None:
            await send({"type": "http.response.body", "body": content, "more_body": more})

        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        watcher = asyncio.create_task(until_gone(receive))
        coming: asyncio.Task[Sendable | None] | None = None
        try:
            await body(self._first.encode() if self._first else _HEARTBEAT)
            while True:
                coming = coming or asyncio.create_task(self._next())
                await asyncio.wait(
                    {coming, watcher}, timeout=self._heartbeat, return_when=asyncio.FIRST_COMPLETED
                )
                if watcher.done():
                    return
                if not coming.done():
                    await body(_HEARTBEAT)
                    continue
                event = coming.result()
                coming = None
                if event is None:
                    break
                await body(event.encode())
            await body(b"", more=False)
        finally:
            await _cancel(watcher, coming)
            await self._events.aclose()

    async def _next(self) -> Sendable | None:
        if self._failed:
            return None
        try:
            return await anext(self._events, None)
        except Exception as error:
            self._failed = True
            return self._on_error(error)


async def _cancel(*tasks: asyncio.Task[Any] | None) -> None:
    for task in tasks:
        if task is not None and not task.done():
            task.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await task
