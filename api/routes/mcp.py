"""MCP over HTTP: each request stands for itself, so that any process of several can answer it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, cast

from fastapi import APIRouter, FastAPI, Request, Response
from starlette.types import Receive, Scope, Send

from api.access import Reads, editing
from api.wiring import Service

if TYPE_CHECKING:
    from mcp.server.streamable_http_manager import StreamableHTTPSessionManager

router = APIRouter(include_in_schema=False)
_SERVICE = "longleaf.service"


@asynccontextmanager
async def running(app: FastAPI) -> AsyncIterator[None]:
    """Let `/mcp` be answered while this lasts."""
    # the start of the command does not wait for the library
    from mcp.server.streamable_http_manager import StreamableHTTPSessionManager  # noqa: PLC0415

    from api.mcp.server import make_server  # noqa: PLC0415

    # Host and origin were looked at by our own middleware.
    manager = StreamableHTTPSessionManager(make_server(_service_of), stateless=True)
    async with manager.run():
        app.state.mcp = manager
        yield


@router.post("/mcp")
async def mcp(request: Request, service: Reads) -> Response:
    """Answer one message of the protocol."""
    request.scope[_SERVICE] = service
    return _Handed(request.app.state.mcp)


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
