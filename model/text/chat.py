"""Dialogues to token ids, without a template engine.

Control tokens are placed as ids and every text is encoded with control tokens out of reach, so nothing a
user, a document or a tool says can open or close a turn.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from model.errors import ChatFormatError
from model.text.tokenizer import Tokenizer
from model.text.tools import (
    NAME,
    ToolCall,
    ToolDefinition,
    ToolPlace,
    ToolStyle,
    instructions,
    preamble,
    write_calls,
    write_json,
)

Content: TypeAlias = "str | Sequence[str | Sequence[int]]"
"""A text, or parts in order: texts, encoded one by one, and token ids, taken as they are."""

Message: TypeAlias = Mapping[str, Any]
"""`{"role": …, "content": …}`; roles are system, user, assistant and tool (also ipython).

An assistant's message may have `tool_calls`, a list of `ToolCall` or of their JSON form, and then no content.
A tool's content may also be a JSON object.
"""

Tools: TypeAlias = Sequence[ToolDefinition | Mapping[str, Any]]
"""Custom tools: definitions, or their JSON form."""

_ROLES = frozenset({"system", "user", "assistant", "tool", "ipython"})


class ChatFormat(Protocol):
    """A model family's way to write a dialogue."""

    def render(
        self,
        messages: Sequence[Message],
        add_generation_prompt: bool = True,
        *,
        tools: Tools = (),
        builtin: Collection[str] = (),
        tool_style: ToolStyle = "json",
        tool_place: ToolPlace = "user",
        date: str | None = None,
    ) -> list[int]:
        """Token ids of a dialogue, BOS included where the model wants one.

        Ids given as parts of a content stand in the result unchanged and uncut, between what the turn
        itself adds: nothing is tokenised again.

        Args:
            add_generation_prompt: open the assistant's turn at the end.
            tools: custom tools that the model may call.
            builtin: built-in tools, such as "brave_search" or "code_interpreter".
            tool_style: how custom tools are called.
            tool_place: which turn defines them.
            date: of today, such as "26 Jul 2024"; without it the prompt says nothing of dates, for it would
                change every midnight, and nothing that was read could be used again.

        Raises:
            ChatFormatError: no messages, an unknown role, a content of another type, a name that no tool
                can have, or tools where the format has none.
        """
        ...


@dataclass(frozen=True)
class Llama3Chat:
    """The dialogue format of Llama 3 and 3.1.

    A turn is `<|start_header_id|>role<|end_header_id|>\\n\\n`, the stripped text, `<|eot_id|>`. A message
    with calls ends with `<|eom_id|>` where built-in tools make the environment an ipython: it expects a
    continuation. Results of tools stand as they are, in the turn of a role named ipython.
    """

    tokenizer: Tokenizer

    def render(
        self,
        messages: Sequence[Message],
        add_generation_prompt: bool = True,
        *,
        tools: Tools = (),
        builtin: Collection[str] = (),
        tool_style: ToolStyle = "json",
        tool_place: ToolPlace = "user",
        date: str | None = None,
    ) -> list[int]:
        """See `ChatFormat.render`."""
        left, custom = list(_checked(messages)), [ToolDefinition.of(tool) for tool in tools]
        for name in builtin:
            if not NAME.fullmatch(name):
                raise ChatFormatError(f"a built-in tool is named {name!r}")
        taught = instructions(custom, tool_style, tool_place) if custom else ""
        ids = [self._control("<|begin_of_text|>")]
        opening = preamble(builtin, bool(custom), date)
        if taught and tool_place == "system":
            opening += taught if tool_style == "json" else f"{taught}\n\n"
        if opening or left[0]["role"] == "system":
            content = left.pop(0)["content"] if left[0]["role"] == "system" else ""
            ids += self._turn("system", _before(opening, content, keep=date is not None))
        if taught and tool_place == "user":
            if not left or left[0]["role"] != "user":
                raise ChatFormatError("tools are defined in the first user message, but none comes first")
            if tool_style == "json":
                ids += self._turn("user", _before(taught, left.pop(0)["content"], keep=True))
            else:
                ids += self._turn("user", [taught])
        for message in left:
            ids += self._message(message, builtin, tool_style)
        return ids + self._header("assistant") if add_generation_prompt else ids

    def _message(self, message: Message, builtin: Collection[str], style: ToolStyle) -> list[int]:
        role, content = str(message["role"]), message.get("content") or ""
        if role in ("tool", "ipython"):
            return self._turn("ipython", [write_json(content) if isinstance(content, Mapping) else content])
        calls = [ToolCall.of(call) for call in message.get("tool_calls") or ()]
        if not calls:
            return self._turn(role, [content.strip()] if isinstance(content, str) else content)
        tag = [self._control("<|python_tag|>")] if any(call.name in builtin for call in calls) else []
        written = write_calls(calls, builtin, style, tag)
        if isinstance(content, str):
            # A text and what is written behind it are one text, unless a tag stands between.
            first = written.pop(0) if isinstance(written[0], str) else ""
            content = [f"{content.lstrip()}{first}"]
        return self._turn(role, [*content, *written], "<|eom_id|>" if builtin else "<|eot_id|>")

    def _turn(self, role: str, content: Content, end: str = "<|eot_id|>") -> list[int]:
        return [*self._header(role), *_encode(self.tokenizer, content), self._control(end)]

    def _header(self, role: str) -> list[int]:
        start, end = self._control("<|start_header_id|>"), self._control("<|end_header_id|>")
        return [start, *self.tokenizer.encode(role), end, *self.tokenizer.encode("\n\n")]

    def _control(self, name: str) -> int:
        try:
            return self.tokenizer.control[name]
        except KeyError:
            raise ChatFormatError(
                f"the vocabulary has no {name}: built-in tools need a model of the Llama 3.1 family"
            ) from None


def _before(opening: str, content: Content, keep: bool = False) -> Content:
    """A content behind an opening, as one text where it can be: tokens may join across the seam."""
    if not isinstance(content, str):
        return [opening, *content] if opening else content
    text = opening + content.strip()
    return text if keep else text.rstrip()


@dataclass(frozen=True)
class ChatML:
    """`<|im_start|>role\\n`, the text, `<|im_end|>\\n`, as in SmolLM2.

    Attributes:
        default_system: system text that is put first when the dialogue has none, None for nothing.
    """

    tokenizer: Tokenizer
    default_system: str | None

    def render(
        self,
        messages: Sequence[Message],
        add_generation_prompt: bool = True,
        *,
        tools: Tools = (),
        builtin: Collection[str] = (),
        tool_style: ToolStyle = "json",  # noqa: ARG002  (of tools, which there are none of)
        tool_place: ToolPlace = "user",  # noqa: ARG002
        date: str | None = None,
    ) -> list[int]:
        """See `ChatFormat.render`; this format has neither tools nor dates."""
        checked = list(_checked(messages))
        if tools or builtin or date is not None or any(message.get("tool_calls") for message in checked):
            raise ChatFormatError("this model's chat format (ChatML) has neither tools nor a date")
        if self.default_system is not None and checked[0]["role"] != "system":
            checked.insert(0, {"role": "system", "content": self.default_system})
        ids = [] if self.tokenizer.bos_id is None else [self.tokenizer.bos_id]
        for message in checked:
            ids += self._turn(str(message["role"]), message["content"])
        return ids + self._turn("assistant", None) if add_generation_prompt else ids

    def _turn(self, role: str, content: Content | None) -> list[int]:
        start, end = self.tokenizer.control["<|im_start|>"], self.tokenizer.control["<|im_end|>"]
        if content is None:
            return [start, *self.tokenizer.encode(f"{role}\n")]
        if isinstance(content, str):
            # The template writes role and text as one string, and the tokenizer may join across the seam.
            return [start, *self.tokenizer.encode(f"{role}\n{content}"), end, *self.tokenizer.encode("\n")]
        inside = _encode(self.tokenizer, content)
        return [start, *self.tokenizer.encode(f"{role}\n"), *inside, end, *self.tokenizer.encode("\n")]


def recognise(tokenizer: Tokenizer, template: str | None) -> ChatFormat | None:
    """The format that a checkpoint's chat template writes; None for no template or one that is not known."""
    if template is None:
        return None
    llama = ("<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>")
    if all(name in tokenizer.control for name in llama) and all(name in template for name in llama[1:]):
        return Llama3Chat(tokenizer)
    # Newlines stand in templates as themselves or as backslash n; quotes are of either kind.
    flat = re.sub(r"\s+|\\n", "", template).replace('"', "'")
    chatml = "'<|im_start|>'+message['role']+''+message['content']+'<|im_end|>'"
    if all(name in tokenizer.control for name in ("<|im_start|>", "<|im_end|>")) and chatml in flat:
        default = re.search(r"<\|im_start\|>system(?:\\n|\n)([^{}+]*?)<\|im_end\|>", template)
        return ChatML(tokenizer, default.group(1) if default else None)
    return None


def _checked(messages: Sequence[Message]) -> Sequence[Message]:
    if not messages:
        raise ChatFormatError("the dialogue is empty; give at least one message")
    for index, message in enumerate(messages):
        if message.get("role") not in _ROLES:
            known = ", ".join(sorted(_ROLES))
            raise ChatFormatError(
                f"message {index} has role {message.get('role')!r}; these are known: {known}"
            )
        content, calls = message.get("content"), message.get("tool_calls")
        if calls and message["role"] != "assistant":
            raise ChatFormatError(f"message {index} has tool_calls and role {message['role']!r}")
        if content is None and calls:
            continue
        of_tool = message["role"] in ("tool", "ipython")
        if not isinstance(content, (str, list, tuple)) and not (of_tool and isinstance(content, Mapping)):
            raise ChatFormatError(
                f"message {index} has a content of type {type(content).__name__}; give a text or parts"
            )
        if not isinstance(calls or (), (list, tuple)):
            raise ChatFormatError(
                f"message {index} has tool_calls of type {type(calls).__name__}; give a list"
            )
    return messages


def _encode(tokenizer: Tokenizer, content: Content) -> list[int]:
    if isinstance(content, str):
        return tokenizer.encode(content)
    ids: list[int] = []
    for part in content:
        ids += tokenizer.encode(part) if isinstance(part, str) else part
    return ids
