"""Dialogues: what is said in turns becomes a prompt, and what is written becomes text and tool calls."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Sequence

from model.errors import ChatFormatError
from model.events import Event, PrefillProgress
from model.params import SamplingParams
from model.text.chat import ChatFormat, Message, Tools
from model.text.tokenizer import Tokenizer
from model.text.tool_events import ToolEvent
from model.text.tool_parser import ToolCallParser
from model.text.tool_stream import with_tool_events
from model.text.tools import ToolDefinition, ToolPlace, ToolStyle


class Chatting(ABC):
    """What continues prompts, and dialogues by that.

    Attributes:
        name: of the model, for errors.
        chat_format: None where the model has none that is known.
    """

    name: str
    tokenizer: Tokenizer
    chat_format: ChatFormat | None

    @abstractmethod
    def generate(
        self,
        ids: Sequence[int],
        params: SamplingParams | None = None,
        *,
        cancel: threading.Event | None = None,
        on_progress: Callable[[PrefillProgress], None] | None = None,
        salt: str = "",
        tags: Collection[str] = (),
        written: Sequence[int] = (),
    ) -> Iterator[Event]:
        """Continue a prompt."""

    def chat(
        self,
        messages: Sequence[Message],
        params: SamplingParams | None = None,
        *,
        tools: Tools = (),
        builtin: Collection[str] = (),
        tool_style: ToolStyle = "json",
        tool_place: ToolPlace = "user",
        date: str | None = None,
        cancel: threading.Event | None = None,
        on_progress: Callable[[PrefillProgress], None] | None = None,
        salt: str = "",
        tags: Collection[str] = (),
    ) -> Iterator[Event | ToolEvent]:
        """`generate` of a dialogue in the model's own chat format.

        Args:
            tools, builtin, tool_style, tool_place, date: see `ChatFormat.render`. With tools, what the model
                writes comes as tool events among the others: `TextDelta` is the visible text, and a last
                token `<|eom_id|>` says that the model waits for the results.

        Raises:
            ChatFormatError: the model has no known chat format, or the dialogue is malformed.
            PromptError: as in `generate`.
        """
        if self.chat_format is None:
            raise ChatFormatError(
                f"{self.name} has no chat template that is known (Llama 3 and ChatML are); use generate"
            )
        prompt = self.chat_format.render(
            messages, tools=tools, builtin=builtin, tool_style=tool_style, tool_place=tool_place, date=date
        )
        events = self.generate(prompt, params, cancel=cancel, on_progress=on_progress, salt=salt, tags=tags)
        if not tools and not builtin:
            return events
        names = [ToolDefinition.of(tool).name for tool in tools]
        tag = self.tokenizer.control.get("<|python_tag|>")
        return with_tool_events(events, ToolCallParser(names, builtin, tag))
