"""Tools and formats of a request: what the model is told of, and what it is held to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from api.v1.schemas.chat import AllowedChoice, NamedTool, ResponseFormat, SchemaFormat, Tool, ToolChoice
from model import JsonSchema, ToolDefinition
from rag.errors import InvalidRequest

_ANY_OBJECT: dict[str, Any] = {"type": "object"}


@dataclass(frozen=True)
class Held:
    """What an answer is held to.

    Attributes:
        tools: those that the model is told of; none where none may be called.
        schema: of the whole answer, None for free text.
    """

    tools: tuple[ToolDefinition, ...] = ()
    schema: JsonSchema | None = None


def held(tools: Sequence[Tool] | None, choice: ToolChoice | None, format: ResponseFormat | None) -> Held:
    """Raises InvalidRequest for a choice among tools that are not there."""
    known = {tool.function.name: tool for tool in tools or ()}
    if len(known) < len(tools or ()):
        raise InvalidRequest("Two tools have one name.", code="invalid_value", extra={"param": "tools"})
    wanted, required = _wanted(known, choice)
    if not wanted:
        return Held(schema=None if format is None else _format(format))
    offered = tuple(_definition(tool) for tool in wanted)
    answer = None if format is None or format.type == "text" else format
    if not required and answer is None:
        return Held(offered)
    try:
        schemas = {name: _call(tool, f"#/$defs/{name}") for name, tool in _numbered(wanted)}
        if not required and answer is not None:
            schemas["answer"] = _moved(_schema(answer), "#/$defs/answer")
    except RecursionError:
        raise InvalidRequest("A schema of the tools nests too deep.", code="invalid_value") from None
    either = [{"$ref": f"#/$defs/{name}"} for name in schemas]
    whole = either[0] if len(either) == 1 else {"anyOf": either}
    return Held(offered, JsonSchema({**whole, "$defs": schemas}))


def _numbered(tools: Sequence[Tool]) -> list[tuple[str, Tool]]:
    return [(f"call{number}", tool) for number, tool in enumerate(tools)]


def _wanted(known: Mapping[str, Tool], choice: ToolChoice | None) -> tuple[list[Tool], bool]:
    """The tools that may be called, and whether one has to be."""
    if choice == "none":
        return [], False
    if isinstance(choice, NamedTool):
        return [_find(known, choice.function.name)], True
    if isinstance(choice, AllowedChoice):
        chosen = choice.allowed_tools
        found = {each.function.name: _find(known, each.function.name) for each in chosen.tools}
        return list(found.values()), chosen.mode == "required"
    if not known and choice is not None:
        raise InvalidRequest(
            f"tool_choice is {choice!r} and there are no tools.",
            code="invalid_value",
            extra={"param": "tool_choice"},
        )
    return list(known.values()), choice == "required"


def _find(known: Mapping[str, Tool], name: str) -> Tool:
    if name not in known:
        raise InvalidRequest(
            f"tool_choice names {name!r}, which is not among the tools.",
            code="invalid_value",
            extra={"param": "tool_choice"},
        )
    return known[name]


def _definition(tool: Tool) -> ToolDefinition:
    function = tool.function
    parameters = function.parameters or {"type": "object", "properties": {}}
    return ToolDefinition(function.name, function.description or "", parameters)


def _call(tool: Tool, at: str) -> dict[str, Any]:
    """The schema of a call as Llama 3.1 writes it, to stand at a place of the whole schema."""
    given = _moved(tool.function.parameters or {}, f"{at}/properties/parameters")
    # Arguments that no parameter describes are of no use to anybody.
    parameters = {"type": "object", "additionalProperties": False, "properties": {}, **given}
    return {
        "type": "object",
        "properties": {"name": {"const": tool.function.name}, "parameters": parameters},
        "required": ["name", "parameters"],
        "additionalProperties": False,
    }


def _format(format: ResponseFormat) -> JsonSchema | None:
    return None if format.type == "text" else JsonSchema(_schema(format))


def _schema(format: ResponseFormat) -> dict[str, Any]:
    if isinstance(format, SchemaFormat):
        return format.json_schema.schema_ or _ANY_OBJECT
    return _ANY_OBJECT


def _moved(value: Any, at: str) -> Any:
    """A schema whose references into itself lead to the place where it now stands."""
    if isinstance(value, dict):
        return {
            key: at + entry[1:]
            if key == "$ref" and isinstance(entry, str) and entry.startswith("#")
            else _moved(entry, at)
            for key, entry in value.items()
        }
    return [_moved(entry, at) for entry in value] if isinstance(value, list) else value
