"""Tools in a dialogue: their definitions, calls of them, and Llama 3.1's words for both.

The wordings are those of the chat template that comes with Llama-3.1-Instruct and, for `function_tag`, of
Meta's prompt format document for Llama 3.1: the models were trained on these words, so they are kept exactly.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from model.errors import ChatFormatError

ToolStyle: TypeAlias = Literal["json", "function_tag"]
"""How custom tools are called: `{"name": …, "parameters": …}`, or `<function=name>{…}</function>`."""

ToolPlace: TypeAlias = Literal["user", "system"]
"""Which turn defines custom tools; the template's own choice is the user's."""

CODE_INTERPRETER = "code_interpreter"
BUILTIN_TOOLS = ("brave_search", "wolfram_alpha", CODE_INTERPRETER)
"""Tools that Llama 3.1 knows without a definition."""

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:/-]{0,127}")
"""What a tool may be called: nothing that could end a `<function=…>` tag or a `name.call(`."""

_JSON_INTRO = (
    'Respond in the format {"name": function name, "parameters": dictionary of argument name and its value}.'
    "Do not use variables.\n\n"
)
_USER_INTRO = (
    "Given the following functions, please respond with a JSON for a function call "
    "with its proper arguments that best answers the given prompt.\n\n"
)
_SYSTEM_INTRO = (
    "You have access to the following functions. "
    "To call a function, please respond with JSON for a function call."
)
_TAG_OUTRO = (
    "Think very carefully before calling functions.\n"
    "If you choose to call a function ONLY reply in the following format with no prefix or suffix:\n\n"
    '<function=example_function_name>{"example_name": "example_value"}</function>\n\n'
    "Reminder:\n"
    "- If looking for real time information use relevant functions before falling back to brave_search\n"
    "- Function calls MUST follow the specified format, start with <function= and end with </function>\n"
    "- Required parameters MUST be specified\n"
    "- Only call one function at a time\n"
    "- Put the entire function call reply on one line"
)


@dataclass(frozen=True)
class ToolDefinition:
    """A custom tool that the model may call.

    Attributes:
        description: what it does, for the model.
        parameters: JSON schema of the object of its arguments.

    Raises:
        ChatFormatError: the name has other characters than letters, digits and `_.:/-`, or is too long.
    """

    name: str
    description: str = ""
    parameters: Mapping[str, Any] = field(default_factory=lambda: {"type": "object", "properties": {}})

    def __post_init__(self) -> None:
        check_name(self.name)

    @classmethod
    def of(cls, value: ToolDefinition | Mapping[str, Any]) -> ToolDefinition:
        """A definition from itself or from its JSON form, bare or as the template has it."""
        if isinstance(value, ToolDefinition):
            return value
        inner = value.get("function", value) if isinstance(value, Mapping) else None
        if not isinstance(inner, Mapping) or not isinstance(inner.get("name"), str):
            raise ChatFormatError(
                f"a tool is {value!r}; give an object with name, description and parameters"
            )
        parameters = inner.get("parameters") or {"type": "object", "properties": {}}
        if not isinstance(parameters, Mapping):
            raise ChatFormatError(f"the parameters of tool {inner['name']!r} are no JSON schema object")
        return cls(inner["name"], str(inner.get("description") or ""), parameters)

    def object(self) -> dict[str, Any]:
        """The object that the model is shown."""
        return {"name": self.name, "description": self.description, "parameters": self.parameters}


@dataclass(frozen=True)
class ToolCall:
    """A call of a tool.

    Attributes:
        arguments: by name; or the text that stands for them where it is no JSON object.
        id: pairs a call with its result for programs; the model does not see it.
    """

    name: str
    arguments: Mapping[str, Any] | str
    id: str | None = None

    def __post_init__(self) -> None:
        check_name(self.name)

    @classmethod
    def of(cls, value: ToolCall | Mapping[str, Any]) -> ToolCall:
        """A call from itself or from its JSON form; arguments given as JSON text are read.

        Raises:
            ChatFormatError: not of either form.
        """
        if isinstance(value, ToolCall):
            return value
        inner = value.get("function", value) if isinstance(value, Mapping) else None
        if not isinstance(inner, Mapping) or not isinstance(inner.get("name"), str):
            raise ChatFormatError(f"a tool call is {value!r}; give an object with name and arguments")
        arguments = inner.get("arguments", inner.get("parameters", {}))
        if isinstance(arguments, str):
            read = read_json(arguments)
            arguments = read if isinstance(read, dict) else arguments
        if not isinstance(arguments, (str, Mapping)):
            raise ChatFormatError(f"the arguments of the call of {inner['name']!r} are no JSON object")
        given = value.get("id")
        return cls(inner["name"], arguments, given if isinstance(given, str) else None)


def check_name(name: str) -> None:
    """Refuse what cannot be a tool's name."""
    if not NAME.fullmatch(name):
        raise ChatFormatError(f"a tool is named {name!r}; allowed: letters, digits, _ . : / -, at most 128")


def write_json(value: Any, indent: int | None = None) -> str:
    """JSON as the template writes it: every script as it is, spaces after `,` and `:`.

    Raises:
        ChatFormatError: the value is no JSON.
    """
    try:
        return json.dumps(value, ensure_ascii=False, indent=indent, allow_nan=False, default=_plain)
    except (TypeError, ValueError, RecursionError) as error:
        raise ChatFormatError(f"a value of the dialogue is no JSON: {error}") from error


def read_json(text: str) -> Any:
    """The value of a JSON text that a model wrote, None where it has none; never raises.

    Raw line breaks within strings are taken; half of a surrogate pair becomes U+FFFD.
    """
    try:
        value = json.loads(text, strict=False, parse_constant=_refuse)
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
        return json.loads(text.encode("utf-16", "surrogatepass").decode("utf-16", "replace"))
    except (ValueError, RecursionError):
        return None


def preamble(builtin: Collection[str], custom: bool, date: str | None) -> str:
    """The lines that open the system turn; empty where nothing asks for them.

    Args:
        builtin: tools that the model knows; any of them makes the environment an ipython.
        custom: whether there are tools with definitions too.
        date: of today, such as "26 Jul 2024".
    """
    lines = "Environment: ipython\n" if builtin or custom else ""
    named = [name for name in builtin if name != CODE_INTERPRETER]
    lines += f"Tools: {', '.join(named)}\n\n" if named else ""
    if date is not None:
        return f"{lines}Cutting Knowledge Date: December 2023\nToday Date: {date}\n\n"
    return f"{lines}\n" if lines and not named else lines


def instructions(tools: Sequence[ToolDefinition], style: ToolStyle, place: ToolPlace) -> str:
    """The definitions of custom tools and how to call them."""
    if style == "function_tag":
        listed = "".join(
            f"Use the function '{tool.name}' to '{tool.description}':\n{write_json(tool.object())}\n\n"
            for tool in tools
        )
        return f"You have access to the following functions:\n\n{listed}{_TAG_OUTRO}"
    wrapped = [{"type": "function", "function": tool.object()} for tool in tools]
    listed = "".join(f"{write_json(tool, indent=4)}\n\n" for tool in wrapped)
    return (_USER_INTRO if place == "user" else _SYSTEM_INTRO) + _JSON_INTRO + listed


def write_calls(
    calls: Sequence[ToolCall], builtin: Collection[str], style: ToolStyle, python_tag: Sequence[int]
) -> list[str | Sequence[int]]:
    """What the model writes for calls, as texts and the ids of `<|python_tag|>`.

    Calls of built-in tools are Python and each stands behind its own tag. Several custom calls are separated
    by `; ` (JSON) or a line break (tags).
    """
    parts: list[str | Sequence[int]] = []
    text, between = "", "; " if style == "json" else "\n"
    for call in calls:
        if call.name in builtin:
            parts += [text, python_tag, _python(call)] if text else [python_tag, _python(call)]
            text = ""
        elif parts and not text:
            # Without a tag of its own the call would be read as more of the code before it.
            parts.append(python_tag)
            text = _custom(call, style)
        else:
            # One text, not two: tokens may join across the seam.
            text += (between if text else "") + _custom(call, style)
    return [*parts, text] if text else parts


def _custom(call: ToolCall, style: ToolStyle) -> str:
    arguments = call.arguments if isinstance(call.arguments, str) else write_json(call.arguments)
    if style == "json":
        return f'{{"name": {write_json(call.name)}, "parameters": {arguments}}}'
    return f"<function={call.name}>{arguments}</function>"


def _python(call: ToolCall) -> str:
    if call.name == CODE_INTERPRETER:
        code = call.arguments if isinstance(call.arguments, str) else call.arguments.get("code")
        if not isinstance(code, str):
            raise ChatFormatError(f"a call of {CODE_INTERPRETER} has no text `code`: {call.arguments!r}")
        return code
    if isinstance(call.arguments, str):
        raise ChatFormatError(f"the arguments of {call.name} are {call.arguments!r}; give them by name")
    listed = [f"{name}={_literal(value)}" for name, value in call.arguments.items()]
    return f"{call.name}.call({', '.join(listed)})"


def _literal(value: Any) -> str:
    if not isinstance(value, str):
        return write_json(value)
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\r", "\\r")
    return f'"{escaped}"'


def _plain(value: object) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} is not JSON")


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is not JSON")
