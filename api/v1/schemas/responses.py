"""A request for a response."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from api.v1.schemas.base import (
    NOTHING_STORED,
    Asking,
    Flag,
    Ignored,
    Model,
    MostTokens,
    Name,
    NotTrue,
    OpenAIRequest,
    Refused,
    StreamOptions,
    Temperature,
    TopLogprobs,
    TopP,
    why,
)
from api.v1.schemas.chat import Lenient

LOGPROBS = "message.output_text.logprobs"


class InputText(Lenient):
    """A text of a message; pictures, sounds and files are refused."""

    type: Literal["input_text", "output_text"]
    text: str


class InputRefusal(Lenient):
    """A refusal that was answered before."""

    type: Literal["refusal"]
    refusal: str


class InputMessage(Lenient):
    """A message of the dialogue."""

    type: Literal["message"] | None = None
    role: Literal["user", "assistant", "system", "developer"]
    content: str | Annotated[list[InputText | InputRefusal], Field(min_length=1, max_length=1000)]


class InputCall(Lenient):
    """A call that the model made."""

    type: Literal["function_call"]
    call_id: str = Field(min_length=1, max_length=128)
    name: Name
    arguments: str


class InputResult(Lenient):
    """What a function gave back."""

    type: Literal["function_call_output"]
    call_id: str = Field(min_length=1, max_length=128)
    output: str | Annotated[list[InputText], Field(min_length=1, max_length=1000)]


class InputReasoning(Lenient):
    """What another model thought; it is not read."""

    type: Literal["reasoning"]


Item = InputMessage | InputCall | InputResult | InputReasoning


class FunctionTool(OpenAIRequest):
    """A function that the model may call; the one kind of tool that there is."""

    type: Literal["function"]
    name: Name = Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.:/-]{0,127}$")
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: Flag = None


class NamedFunction(OpenAIRequest):
    """A function by its name."""

    type: Literal["function"]
    name: Name


class AllowedFunctions(OpenAIRequest):
    """Some of the functions, and whether one has to be called."""

    type: Literal["allowed_tools"]
    mode: Literal["auto", "required"]
    tools: Annotated[list[NamedFunction], Field(min_length=1, max_length=128)]


class PlainText(OpenAIRequest):
    """Text, or any JSON object."""

    type: Literal["text", "json_object"]


class SchemaText(OpenAIRequest):
    """JSON that is valid against a schema."""

    type: Literal["json_schema"]
    name: Name
    schema_: dict[str, Any] = Field(alias="schema")
    description: str | None = None
    strict: Flag = None


class TextConfig(OpenAIRequest):
    """The form of the text."""

    format: Annotated[PlainText | SchemaText, Field(discriminator="type")] | None = None
    verbosity: Ignored = why("verbosity")


class ResponseRequest(OpenAIRequest):
    """A request for a response. Nothing is kept of it: a conversation is sent whole, in `input`."""

    model: Model
    input: str | Annotated[list[Item], Field(min_length=1, max_length=2000)]
    instructions: str | None = None
    stream: Flag = None
    stream_options: StreamOptions | None = None
    max_output_tokens: MostTokens | None = None
    temperature: Temperature | None = None
    top_p: TopP | None = None
    top_logprobs: TopLogprobs | None = None
    include: Annotated[list[str], Field(max_length=20)] | None = Field(
        default=None, description=f"`{LOGPROBS}` has an effect, others have none."
    )
    text: TextConfig | None = None
    tools: Annotated[list[FunctionTool], Field(max_length=128)] | None = None
    tool_choice: Literal["none", "auto", "required"] | NamedFunction | AllowedFunctions | None = None
    parallel_tool_calls: Flag = None
    metadata: Annotated[dict[str, str], Field(max_length=16)] | None = Field(
        default=None, description="Sent back as it is."
    )
    store: NotTrue | None = Field(default=None, description=f"True is refused: {NOTHING_STORED}.")
    background: NotTrue | None = Field(default=None, description="True is refused: nothing is stored.")
    truncation: Literal["disabled"] | None = None
    longleaf: Asking | None = Field(default=None, description="Of answers from documents alone.")
    access_programs: Ignored = why("access_programs")
    background_options: Ignored = why("background_options")
    max_tool_calls: Ignored = why("max_tool_calls")
    prompt_cache_key: Ignored = why("prompt_cache_key")
    prompt_cache_options: Ignored = why("prompt_cache_options")
    prompt_cache_retention: Ignored = why("prompt_cache_retention")
    reasoning: Ignored = why("reasoning")
    safety_identifier: Ignored = why("safety_identifier")
    service_tier: Ignored = why("service_tier")
    user: Ignored = why("user")
    context_management: Refused = why("context_management")
    conversation: Refused = why("conversation")
    image: Refused = why("image")
    moderation: Refused = why("moderation")
    previous_response_id: Refused = why("previous_response_id")
    prompt: Refused = why("prompt")
