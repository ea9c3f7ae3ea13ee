"""What a reader sees of an answer with calls of tools in it, piece by piece."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

from model.text.tools import ToolCall


@dataclass(frozen=True)
class TextDelta:
    """Text for the reader."""

    text: str


@dataclass(frozen=True)
class ToolCallStart:
    """A call begins; its arguments follow."""

    index: int
    id: str
    name: str


@dataclass(frozen=True)
class ToolCallDelta:
    """A piece of the arguments; the pieces of a call joined are the JSON of its arguments."""

    index: int
    arguments: str


@dataclass(frozen=True)
class ToolCallEnd:
    """A call is complete."""

    index: int
    call: ToolCall


@dataclass(frozen=True)
class ToolCallBroken:
    """What was announced as a call is none; its text follows as `TextDelta` or as code of another call."""

    index: int


ToolEvent: TypeAlias = TextDelta | ToolCallStart | ToolCallDelta | ToolCallEnd | ToolCallBroken


def joined(events: Iterable[ToolEvent]) -> list[ToolEvent]:
    """The same events with neighbouring pieces of one text or one call made one."""
    result: list[ToolEvent] = []
    for event in events:
        last = result[-1] if result else None
        if isinstance(event, TextDelta) and isinstance(last, TextDelta):
            result[-1] = TextDelta(last.text + event.text)
        elif isinstance(event, ToolCallDelta) and isinstance(last, ToolCallDelta):
            result[-1] = ToolCallDelta(event.index, last.arguments + event.arguments)
        else:
            result.append(event)
    return result
