"""OpenAI's messages as the engine's, and as a conversation about documents."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from api.v1.schemas.chat import AssistantMessage, ChatMessage, RefusalPart, TextPart, ToolMessage, UserMessage
from api.v1.schemas.responses import InputRefusal, InputText
from rag.errors import InvalidRequest

_TURNS = 20
_QUESTION, _ANSWER = 8000, 20_000
"""What `POST /query` takes as history."""


def text_of(content: str | Iterable[TextPart | RefusalPart | InputText | InputRefusal] | None) -> str:
    """A content's text, its parts on lines of their own."""
    if content is None or isinstance(content, str):
        return content or ""
    return "\n".join(
        part.refusal if isinstance(part, RefusalPart | InputRefusal) else part.text for part in content
    )


def engine_messages(messages: Sequence[ChatMessage]) -> list[dict[str, Any]]:
    """The dialogue as the chat formats render it. Raises InvalidRequest for a result of no call."""
    rendered: list[dict[str, Any]] = []
    called: set[str] = set()
    for index, message in enumerate(messages):
        content = text_of(message.content)
        if isinstance(message, ToolMessage):
            if message.tool_call_id not in called:
                raise InvalidRequest(
                    f"messages.{index} is the result of {message.tool_call_id[:60]!r}, and no message before "
                    "it has that call.",
                    code="invalid_messages",
                    extra={"param": f"messages.{index}.tool_call_id"},
                )
            rendered.append({"role": "ipython", "content": content})
        elif isinstance(message, AssistantMessage):
            calls = [call.model_dump() for call in message.tool_calls or ()]
            called |= {call["id"] for call in calls}
            spoken = content or message.refusal or ""
            rendered.append(
                {"role": "assistant", "content": spoken, **({"tool_calls": calls} if calls else {})}
            )
        else:
            role = "user" if isinstance(message, UserMessage) else "system"
            rendered.append({"role": role, "content": content})
    return rendered


def asked(messages: Sequence[ChatMessage]) -> tuple[str, list[dict[str, str]]]:
    """The question that a dialogue ends with, and the turns before it as `POST /query` takes them.

    What tools and instructions say is left out. Raises InvalidRequest where a user does not speak last.
    """
    last = messages[-1]
    if not isinstance(last, UserMessage):
        raise InvalidRequest(
            "The last message has to be the user's: it is what the documents are asked.",
            code="invalid_messages",
            extra={"param": "messages"},
        )
    turns: list[dict[str, str]] = []
    for message in messages[:-1]:
        text = text_of(message.content).replace("\0", "")
        if isinstance(message, UserMessage) and text.strip():
            turns.append({"question": text[:_QUESTION], "answer": ""})
        elif isinstance(message, AssistantMessage) and turns and not turns[-1]["answer"]:
            turns[-1]["answer"] = text[:_ANSWER]
    return text_of(last.content), turns[-_TURNS:]
