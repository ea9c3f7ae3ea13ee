"""`longleaf mcp`: the MCP server over standard input and output, for assistants on this machine."""

from __future__ import annotations

import anyio
from mcp.server.stdio import stdio_server

from api.mcp.server import make_server
from api.wiring import Service
from rag.principal import LOCAL
from rag.settings import Settings


def run(settings: Settings) -> None:
    """Serve until the input ends. Raises Unmigrated, Unavailable."""
    service = Service(settings)
    service.start()
    try:
        anyio.run(_serve, service)
    finally:
        service.stop()


async def _serve(service: Service) -> None:
    server = make_server(lambda _context, _writes: service.acting_for(LOCAL, "admin"))
    async with stdio_server() as (reading, writing):
        await server.run(reading, writing, server.create_initialization_options())
