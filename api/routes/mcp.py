"""MCP over HTTP: each request stands for itself, so that any process of several can answer it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, cast
from weakref import WeakKeyDictionary

from fastapi import APIRouter, FastAPI, Request, Response
from starlette.concurrency import run_in_threadpool
from starlette.types import Receive, Scope, Send

from api.access import Reads, editing
from api.wiring import Service

if TYPE_CHECKING:
    from mcp.server.streamable_http_manager import StreamableHTTPSessionManager

router = APIRouter(include_in_schema=False)
_SERVICE = "longleaf.service"


class _Server:
    """The library's manager, made and started when the first message comes: it takes seconds to import."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._manager: StreamableHTTPSessionManager | None = None
        self._over = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def manager(self) -> StreamableHTTPSessionManager:
        """The manager, running."""
        async with self._lock:
            if self._manager is None or (self._task is not None and self._task.done()):
                manager = await run_in_threadpool(_make_manager)
                running = asyncio.Event()
                # the library's group of tasks must be left by the task that entered it
                self._task = asyncio.create_task(self._run(manager, running))
                await running.wait()
                self._manager = manager
            return self._manager

    async def _run(self, manager: StreamableHTTPSessionManager, running: asyncio.Event) -> None:
        async with manager.run():
            running.set()
            await self._over.wait()

    async def stop(self) -> None:
        """End what runs, if anything does."""
        self._over.set()
        if self._task is not None and not self._task.done():
            await self._task


class _Servers:
    """One for each event loop: an application may be served on several, as tests do."""

    def __init__(self) -> None:
        self._of: WeakKeyDictionary[asyncio.AbstractEventLoop, _Server] = WeakKeyDictionary()

    def here(self) -> _Server:
        """The one of the loop that this runs on."""
        return self._of.setdefault(asyncio.get_running_loop(), _Server())

    async def stop(self) -> None:
        """End what runs on this loop."""
        server = self._of.pop(asyncio.get_running_loop(), None)
        if server is not None:
            await server.stop()


def _make_manager() -> StreamableHTTPSessionManager:
    from mcp.server.streamable_http_manager import StreamableHTTPSessionManager  # noqa: PLC0415

    from api.mcp.server import make_server  # noqa: PLC0415

    # Host and origin were looked at by our own middleware.
    return StreamableHTTPSessionManager(make_server(_service_of), stateless=True)


@asynccontextmanager
async def running(app: FastAPI) -> AsyncIterator[None]:
    """Let `/mcp` be answered while this lasts."""
    servers: _Servers = getattr(app.state, "mcp", None) or _Servers()
    app.state.mcp = servers
    try:
        yield
    finally:
        await servers.stop()


@router.post("/mcp")
async def mcp(request: Request, service: Reads) -> Response:
    """Answer one message of the protocol."""
    request.scope[_SERVICE] = service
    return _Handed(await request.app.state.mcp.here().manager())


class _Handed(Response):
    """Lets the library answer."""

    def __init__(self, manager: StreamableHTTPSessionManager) -> None:
        super().__init__()
        self._manager = manager

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._manager.handle_request(scope, receive, send)


def _service_of(context: Any, writes: bool) -> Service:
    service = cast(Service, context.request.scope[_SERVICE])
    return editing(service) if writes else service
