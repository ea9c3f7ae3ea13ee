"""A request for a chat completion."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from api.v1.schemas.base import (
    NOTHING_STORED,
    Asking,
    Choices,
    Flag,
    Ignored,
    LogitBias,
    Model,
    MostTokens,
    Name,
    NotTrue,
    OpenAIRequest,
    Penalty,
    Refused,
    Seed,
    Stops,
    StreamOptions,
    Temperature,
    TopLogprobs,
    TopP,
    why,
)


class Lenient(BaseModel):
    """A part of the dialogue: clients send back what they were answered, with members of their own."""

    model_config = ConfigDict(extra="ignore", strict=True)


class TextPart(Lenient):
    """A part of a message's content; pictures, sounds and files are refused."""

    type: Literal["text"]
    text: str


class RefusalPart(Lenient):
    """A part of an assistant's content."""

    type: Literal["refusal"]
    refusal: str


Parts = Annotated[list[TextPart], Field(min_length=1, max_length=1000)]


class SystemMessage(Lenient):
    """Instructions. In answers from documents they are not read."""

    role: Literal["system", "developer"]
    content: str | Parts


class UserMessage(Lenient):
    """What is asked."""

    role: Literal["user"]
    content: str | Parts


class CalledFunction(Lenient):
    """The function of a call, its arguments as JSON text."""

    name: Name
    arguments: str


class Call(Lenient):
    """A call that the model made."""

    id: str = Field(min_length=1, max_length=128)
    type: Literal["function"] = "function"
    function: CalledFunction


class AssistantMessage(Lenient):
    """What was answered before."""

    role: Literal["assistant"]
    content: str | Annotated[list[TextPart | RefusalPart], Field(min_length=1, max_length=1000)] | None = None
    refusal: str | None = None
    tool_calls: Annotated[list[Call], Field(max_length=128)] | None = None


class ToolMessage(Lenient):
    """What a tool gave back; the model reads it in the turn of the role `ipython`."""

    role: Literal["tool"]
    content: str | Parts
    tool_call_id: str


ChatMessage = Annotated[
    SystemMessage | UserMessage | AssistantMessage | ToolMessage, Field(discriminator="role")
]


class Function(OpenAIRequest):
    """A function that the model may call."""

    name: Name = Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.:/-]{0,127}$")
    description: str | None = None
    parameters: dict[str, Any] | None = Field(default=None, description="JSON schema of the arguments.")
    strict: Flag = Field(
        default=None, description="Arguments follow the schema for certain where a call is required."
    )


class Tool(OpenAIRequest):
    """A tool; functions are the one kind."""

    type: Literal["function"]
    function: Function


class Named(OpenAIRequest):
    """A function by its name."""

    name: Name


class NamedTool(OpenAIRequest):
    """A tool by its name."""

    type: Literal["function"]
    function: Named


class AllowedTools(OpenAIRequest):
    """Some of the tools, and whether one has to be called."""

    mode: Literal["auto", "required"]
    tools: Annotated[list[NamedTool], Field(min_length=1, max_length=128)]


class AllowedChoice(OpenAIRequest):
    """A choice among some of the tools."""

    type: Literal["allowed_tools"]
    allowed_tools: AllowedTools


ToolChoice = Literal["none", "auto", "required"] | NamedTool | AllowedChoice


class PlainFormat(OpenAIRequest):
    """Text, or any JSON object."""

    type: Literal["text", "json_object"]


class Schema(OpenAIRequest):
    """A JSON schema with its name."""

    name: Name
    schema_: dict[str, Any] | None = Field(default=None, alias="schema")
    description: str | None = None
    strict: Flag = Field(default=None, description="The answer follows the schema in any case.")


class SchemaFormat(OpenAIRequest):
    """An answer that is valid against a JSON schema."""

    type: Literal["json_schema"]
    json_schema: Schema


ResponseFormat = Annotated[PlainFormat | SchemaFormat, Field(discriminator="type")]


class ChatRequest(OpenAIRequest):
    """A request for a chat completion. `max_completion_tokens` is the newer name of `max_tokens`."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "model": "longleaf/default",
                    "messages": [{"role": "user", "content": "How long is the notice period?"}],
                }
            ]
        }
    )

    model: Model
    messages: Annotated[list[ChatMessage], Field(min_length=1, max_length=2000)]
    stream: Flag = None
    stream_options: StreamOptions | None = None
    max_completion_tokens: MostTokens | None = None
    max_tokens: MostTokens | None = None
    n: Choices | None = None
    temperature: Temperature | None = None
    top_p: TopP | None = None
    seed: Seed | None = None
    stop: Stops | None = None
    frequency_penalty: Penalty | None = None
    presence_penalty: Penalty | None = None
    logit_bias: LogitBias | None = None
    logprobs: Flag = None
    top_logprobs: TopLogprobs | None = None
    response_format: ResponseFormat | None = None
    tools: Annotated[list[Tool], Field(max_length=128)] | None = None
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: Flag = None
    modalities: list[Literal["text"]] | None = None
    store: NotTrue | None = Field(default=None, description=f"True is refused: {NOTHING_STORED}.")
    longleaf: Asking | None = Field(default=None, description="Of answers from documents alone.")
    metadata: Ignored = Field(default=None, description="It would name a stored completion.")
    prediction: Ignored = why("prediction")
    prompt_cache_key: Ignored = why("prompt_cache_key")
    prompt_cache_options: Ignored = why("prompt_cache_options")
    prompt_cache_retention: Ignored = why("prompt_cache_retention")
    reasoning_effort: Ignored = why("reasoning_effort")
    safety_identifier: Ignored = why("safety_identifier")
    service_tier: Ignored = why("service_tier")
    user: Ignored = why("user")
    verbosity: Ignored = why("verbosity")
    audio: Refused = why("audio")
    function_call: Refused = why("function_call")
    functions: Refused = why("functions")
    moderation: Refused = why("moderation")
    web_search_options: Refused = why("web_search_options")
