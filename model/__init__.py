"""Longleaf's inference engine for Llama 3: load a model, read tokens, write tokens.

    from model import Engine, SamplingParams

    engine = Engine.load("auto")
    messages = [{"role": "user", "content": "Why is the sky blue?"}]
    for event in engine.chat(messages, SamplingParams(max_tokens=64)):
        if isinstance(event, TokenEvent):
            print(event.text, end="")

Needs torch, tokenizers, safetensors and numpy, and nothing else of this project.
"""

from __future__ import annotations

from model.constraints import ConstraintSpec, JsonSchema, Regex, Span, TokenSet
from model.engine import Engine
from model.errors import (
    ChatFormatError,
    CheckpointError,
    ConstraintError,
    EngineDeadError,
    HardwareError,
    ModelError,
    ParameterError,
    PromptError,
    PromptTooLongError,
    StepError,
    TokenizerError,
)
from model.events import Event, Finished, FinishReason, PrefillProgress, TokenEvent
from model.hardware import Hardware, describe
from model.options import EngineOptions
from model.params import SamplingParams
from model.reading import Ranked
from model.stats import Stats
from model.text.chat import ChatFormat, Content, Message
from model.text.tokenizer import Tokenizer
from model.text.tool_events import (
    TextDelta,
    ToolCallBroken,
    ToolCallDelta,
    ToolCallEnd,
    ToolCallStart,
    ToolEvent,
)
from model.text.tool_parser import ToolCallParser
from model.text.tools import ToolCall, ToolDefinition

__all__ = [
    "ChatFormat",
    "ChatFormatError",
    "CheckpointError",
    "ConstraintError",
    "ConstraintSpec",
    "Content",
    "Engine",
    "EngineDeadError",
    "EngineOptions",
    "Event",
    "FinishReason",
    "Finished",
    "Hardware",
    "HardwareError",
    "JsonSchema",
    "Message",
    "ModelError",
    "ParameterError",
    "PrefillProgress",
    "PromptError",
    "PromptTooLongError",
    "Ranked",
    "Regex",
    "SamplingParams",
    "Span",
    "Stats",
    "StepError",
    "TextDelta",
    "TokenEvent",
    "TokenSet",
    "Tokenizer",
    "TokenizerError",
    "ToolCall",
    "ToolCallBroken",
    "ToolCallDelta",
    "ToolCallEnd",
    "ToolCallParser",
    "ToolCallStart",
    "ToolDefinition",
    "ToolEvent",
    "describe",
]
