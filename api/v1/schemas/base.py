"""What all requests of `/v1` share: strictness, and words for parameters that are not used or not taken.

Every parameter that OpenAI documents is declared: it is used, taken and not used (it cannot change what comes
back), or refused with the reason. Any other is refused as unknown, as OpenAI does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo
from pydantic_core import PydanticCustomError

from api.schemas import QueryRequest
from api.schemas.base import Request

UNSUPPORTED = "unsupported_parameter"


class ErrorMembers(BaseModel):
    """What was wrong; `code` is stable, `param` names the parameter where it is one."""

    message: str
    type: str
    param: str | None
    code: str | None


class OpenAIError(BaseModel):
    """An error under `/v1`."""

    error: ErrorMembers


class OpenAIRequest(BaseModel):
    """A request's body: null is the same as left out."""

    model_config = ConfigDict(extra="forbid", strict=True)


@dataclass(frozen=True)
class Use:
    """How a parameter is treated, where it is not simply used."""

    kind: Literal["not used", "refused"]


_WHY = {
    "audio": "this service reads and writes text alone",
    "background": "an answer ends with the connection that asked for it",
    "context_management": "no input is shortened behind the asker's back",
    "conversation": "nothing is stored; send the conversation in the request",
    "dimensions": "the model's vectors have one length",
    "function_call": "tool_choice took its place",
    "functions": "tools took its place",
    "image": "this service reads and writes text alone",
    "moderation": "there is no moderation model",
    "previous_response_id": "nothing is stored; send the conversation in input",
    "prompt": "no prompts are stored; send the texts in input and instructions",
    "suffix": "Llama 3 was not trained to fill in between",
    "web_search_options": "nothing is looked up on the web",
    "access_programs": "it names programs of another service",
    "background_options": "an answer ends with the connection that asked for it",
    "include_obfuscation": "nothing is added to hide lengths",
    "max_tool_calls": "it bounds built-in tools, which there are none of",
    "prediction": "drafts come from the prompt itself",
    "prompt_cache_key": "what was read is found again by its tokens",
    "prompt_cache_options": "what was read is found again by its tokens",
    "prompt_cache_retention": "what was read is found again by its tokens",
    "reasoning": "the models do not reason apart",
    "reasoning_effort": "the models do not reason apart",
    "safety_identifier": "it is for the watch of another service",
    "service_tier": "there is one tier",
    "user": "it is for the watch of another service",
    "verbosity": "the instructions say how long",
}
"""Why a parameter is refused or has no use."""


def _refuse(value: Any, info: ValidationInfo) -> None:
    if value is not None:
        why = _WHY[info.field_name or ""]
        raise PydanticCustomError(UNSUPPORTED, "this parameter is not supported: {why}", {"why": why})


Refused = Annotated[None, BeforeValidator(_refuse), Use("refused")]
"""A parameter that only null is allowed for."""

Ignored = Annotated[Any, Use("not used")]
"""A parameter that is taken and cannot change what comes back."""


NOTHING_STORED = "nothing is stored, and nothing can be looked up later"


def _not_true(value: bool) -> bool:
    if value:
        raise PydanticCustomError(UNSUPPORTED, "true is not supported: {why}", {"why": NOTHING_STORED})
    return value


NotTrue = Annotated[bool, AfterValidator(_not_true), Field(json_schema_extra={"enum": [False]})]
"""A switch that can only be off."""


def why(name: str) -> Any:
    """The default, null, of a parameter that is refused or not used, with the reason as its description."""
    return Field(default=None, description=f"{_WHY[name][0].upper()}{_WHY[name][1:]}.")


def use_of(model: type[BaseModel], name: str) -> str:
    """`used`, `not used` or `refused`."""
    found = [entry.kind for entry in model.model_fields[name].metadata if isinstance(entry, Use)]
    return found[0] if found else "used"


Model = Annotated[
    str,
    Field(
        min_length=1,
        max_length=300,
        description="`longleaf/<collection>`, `longleaf/raw` or the model's own name; `GET /v1/models` lists "
        "them.",
        examples=["longleaf/default", "longleaf/raw"],
    ),
]
Temperature = Annotated[float, Field(ge=0, le=2, allow_inf_nan=False)]
TopP = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Penalty = Annotated[float, Field(ge=-2, le=2, allow_inf_nan=False)]
Seed = Annotated[int, Field(ge=-(2**63), le=2**63 - 1)]
Stop = Annotated[str, Field(min_length=1, max_length=1000)]
Stops = Stop | Annotated[list[Stop], Field(max_length=16)]
TopLogprobs = Annotated[int, Field(ge=0, le=20)]
Choices = Annotated[int, Field(ge=1, le=16)]
MostTokens = Annotated[int, Field(ge=1, le=2**31 - 1)]
LogitBias = Annotated[
    dict[Annotated[str, Field(pattern=r"^[0-9]{1,7}$")], Annotated[float, Field(ge=-100, le=100)]],
    Field(max_length=1024),
]
Flag = bool | None
Name = Annotated[str, Field(min_length=1, max_length=128)]


class StreamOptions(OpenAIRequest):
    """How a stream is sent."""

    include_usage: Flag = Field(default=None, description="End with a chunk that holds `usage`.")
    include_obfuscation: Ignored = why("include_obfuscation")


class Asking(Request):
    """How documents are asked, beside what OpenAI's parameters say; each member is that of `POST /query`."""

    document_ids: list[str] | None = Field(default=None, min_length=1, max_length=1000)
    filters: dict[str, Any] | None = None
    top_k: int | None = Field(default=None, ge=1, le=200)
    max_context_tokens: int | None = Field(default=None, ge=64, le=2**31 - 1)
    mode: Literal["auto", "quotes", "answer"] | None = None
    unsupported: Literal["remove", "mark"] | None = None
    steps: int | None = Field(default=None, ge=1, le=4)
    receipts: bool | None = None

    def given(self) -> dict[str, Any]:
        """The members that are not left to their defaults."""
        return self.model_dump(exclude_none=True)


assert set(Asking.model_fields) <= set(QueryRequest.model_fields)  # noqa: S101  (a slip of ours)
