"""docs/clients.md against the tools of the MCP server."""

from __future__ import annotations

from reading import code, read, table

from api.mcp.tools import MOST_CHARACTERS, TOOLS


def test_every_tool_is_documented_with_what_it_takes() -> None:
    rows = {code(row[0]): row[1] for row in table(read("docs/clients.md"), "tool")}
    assert set(rows) == set(TOOLS)
    for name in ("search", "read_passage", "list_documents", "add_document"):
        known = {field for field in TOOLS[name].arguments.model_fields if f"`{field}" in rows[name]}
        assert set(TOOLS[name].arguments.model_fields) - known <= {"document_id"}, name
    assert f"{MOST_CHARACTERS:,} characters" in rows["read_passage"]
