"""The MCP server by the official client, over HTTP and over standard input and output."""

from __future__ import annotations

import inspect
import json
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from mcp import Client, StdioServerParameters
from mcp.shared.exceptions import MCPDeprecationWarning, MCPError
from mcp.types import METHOD_NOT_FOUND, ResourceTemplateReference

from api.app import create_app
from api.loaders import Loaders
from api.wiring import Service
from rag.settings import Settings
from tests.api.conftest import LEASE, listening, ready
from tests.docs import reading

ROOT = Path(__file__).resolve().parents[2]
LEGACY = {"send_ping", "set_logging_level", "subscribe_resource", "unsubscribe_resource"}
"""What the protocol had until 2025."""
QUESTION = "How long is the notice period?"


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory, loaders: Loaders) -> Iterator[str]:
    """A running server that holds one document."""
    settings = Settings(_env_file=None, data_dir=tmp_path_factory.mktemp("mcp"))
    with listening(create_app(settings, Service(settings, loaders))) as port:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            ready(client)
        yield f"http://127.0.0.1:{port}/mcp"


async def call(client: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    """What a tool gives back, which is the same as structure and as text."""
    found = await client.call_tool(tool, arguments)
    assert not found.is_error, found.content
    assert json.loads(found.content[0].text) == found.structured_content  # type: ignore[union-attr]
    body: dict[str, Any] = found.structured_content
    return body


async def whole_way(client: Client) -> None:
    """Every tool and the resources; the store holds the lease in `default`."""
    tools = {tool.name: tool for tool in (await client.list_tools()).tools}
    assert set(tools) == {"search", "ask", "read_passage", "list_documents", "add_document"}
    writing = [name for name, tool in tools.items() if not tool.annotations.read_only_hint]  # type: ignore[union-attr]
    assert writing == ["add_document"]
    [found] = [
        each for each in (await call(client, "search", query="notice", top_k=1))["results"] if each["text"]
    ]
    assert found["text"] in LEASE
    answer = await call(client, "ask", question=QUESTION)
    assert answer["answer_status"] == "answered"
    assert "fourteen months" in answer["answer"]
    cited = answer["citations"][0]
    passage = await call(
        client,
        "read_passage",
        document_id=cited["document_id"],
        start=cited["start_char_index"],
        end=cited["end_char_index"],
    )
    assert passage["text"] == cited["cited_text"]
    added = await call(client, "add_document", filename="note.txt", content="The mill burnt down in 1931.")
    assert not added["already_there"]
    with anyio.fail_after(120):
        while True:
            listed = (await call(client, "list_documents", collection="default"))["documents"]
            if {entry["id"]: entry["status"] for entry in listed}[added["id"]] == "ready":
                break
            await anyio.sleep(0.2)
    resources = {str(each.uri): each.name for each in (await client.list_resources()).resources}
    uri = f"longleaf://documents/{added['id']}"
    assert resources[uri] == "note.txt"
    read = await client.read_resource(uri)
    assert read.contents[0].text.strip() == "The mill burnt down in 1931."  # type: ignore[union-attr]


async def wrong_ways(client: Client) -> None:
    """What cannot be done is said with the code that HTTP has for it."""
    for tool, arguments, code in (
        ("search", {}, "invalid_request"),
        ("search", {"query": "a", "colour": "red"}, "invalid_request"),
        ("ask", {"question": "a", "collection": "nowhere"}, "collection_not_found"),
        ("read_passage", {"document_id": "doc_x"}, "document_not_found"),
        ("add_document", {"filename": "a", "content": "%", "encoding": "base64"}, "invalid_request"),
    ):
        found = await client.call_tool(tool, arguments)
        assert found.is_error, tool
        assert found.content[0].text.startswith(f"{code}: "), found.content  # type: ignore[union-attr]
    with pytest.raises(MCPError):
        await client.call_tool("delete_everything", {})
    with pytest.raises(MCPError):
        await client.read_resource("longleaf://documents/doc_00000000000000000000000000")


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_over_http(url: str, mode: str) -> None:
    async def run() -> None:
        async with Client(url, mode=mode) as client:
            if mode == "auto":
                await whole_way(client)
            await wrong_ways(client)

    anyio.run(run)


async def outcome(client: Client, name: str, document: str) -> str:
    """What comes of a request of the client, in the words of docs/clients.md."""
    template = ResourceTemplateReference(uri="longleaf://documents/{id}", type="ref/resource")
    given: dict[str, tuple[Any, ...]] = {
        "call_tool": ("search", {"query": "notice"}),
        "complete": (template, {"name": "id", "value": "doc"}),
        "get_prompt": ("any",),
        "read_resource": (document,),
        "send_progress_notification": ("token", 0.5),
        "set_logging_level": ("debug",),
        "subscribe_resource": (document,),
        "unsubscribe_resource": (document,),
    }
    try:
        with anyio.fail_after(60), warnings.catch_warnings(action="ignore", category=MCPDeprecationWarning):
            if name == "listen":
                async with client.listen(tools_list_changed=True):
                    return "answered"
            found = await getattr(client, name)(*given.get(name, ()))
    except MCPError as error:
        if error.code != METHOD_NOT_FOUND:
            raise
        return "not offered"
    return "taken" if found is None else "answered"


def test_the_clients_requests_are_answered_as_documented(url: str) -> None:
    documented = {
        reading.code(row[0]): row[1] for row in reading.table(reading.read("docs/clients.md"), "`mcp.Client`")
    }
    requests = {name for name, _ in inspect.getmembers(Client, inspect.isfunction) if name[0] != "_"}
    assert set(documented) == requests

    async def run() -> dict[str, str]:
        async with Client(url) as client:
            document = str((await client.list_resources()).resources[0].uri)
            modern = {name: await outcome(client, name, document) for name in sorted(requests - LEGACY)}
        async with Client(url, mode="legacy") as client:
            return modern | {name: await outcome(client, name, document) for name in sorted(LEGACY)}

    assert anyio.run(run) == documented
    answered = [name for name, what in documented.items() if what == "answered"]
    assert f"{len(answered)} of {len(documented)} are answered." in reading.read("docs/clients.md")


@pytest.mark.slow
def test_over_standard_input_and_output(tmp_path: Path) -> None:
    environment = {"LONGLEAF_DATA_DIR": str(tmp_path), "PYTHONPATH": str(ROOT)}
    command = StdioServerParameters(
        command=sys.executable, args=["-m", "api", "mcp"], env=environment, cwd=ROOT
    )

    async def run() -> None:
        async with Client(command) as client:
            lease = await call(client, "add_document", filename="lease.md", content=LEASE)
            with anyio.fail_after(180):
                while True:
                    listed = (await call(client, "list_documents"))["documents"]
                    if [entry["status"] for entry in listed] == ["ready"]:
                        break
                    await anyio.sleep(0.5)
            assert listed[0]["id"] == lease["id"]
            await whole_way(client)

    anyio.run(run)
