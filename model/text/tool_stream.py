"""An engine's events with the calls of tools among them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from model.events import Event, Finished, TokenEvent
from model.text.tool_events import ToolEvent
from model.text.tool_parser import ToolCallParser


def with_tool_events(events: Iterable[Event], parser: ToolCallParser) -> Iterator[Event | ToolEvent]:
    """Every event as it is, and behind it what the parser makes of its text.

    `Finished` stays the last one. Code that was cut off by `max_tokens` or a cancellation is no call.
    """
    seen = 0
    for event in events:
        if isinstance(event, Finished):
            # What was held back to the end is in no token's text.
            yield from parser.push(event.text[seen:])
            yield from parser.finish(truncated=event.reason in ("length", "cancelled"))
        yield event
        if isinstance(event, TokenEvent):
            seen += len(event.text)
            yield from parser.push(event.text, event.token_id)
