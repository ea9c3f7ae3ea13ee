"""A request for the continuation of a text, and one for vectors."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from api.v1.schemas.base import (
    Choices,
    Flag,
    Ignored,
    LogitBias,
    Model,
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

TokenIds = Annotated[list[Annotated[int, Field(ge=0, le=2**31 - 1)]], Field(min_length=1)]
Prompt = (
    str
    | TokenIds
    | Annotated[list[str], Field(min_length=1, max_length=256)]
    | Annotated[list[TokenIds], Field(min_length=1, max_length=256)]
)


class CompletionRequest(OpenAIRequest):
    """A request for the continuation of a text by the bare model."""

    model: Model
    prompt: Prompt = Field(
        description="A text, or token ids, or a list of either. A text gets the model's begin token where it "
        "has one; ids are read as they are."
    )
    max_tokens: int | None = Field(
        default=None, ge=0, le=2**31 - 1, description="16 where it is not given; 0 only with `echo`."
    )
    echo: Flag = Field(default=None, description="Put the prompt before its continuation.")
    logprobs: TopLogprobs | None = Field(
        default=None,
        description="Log-probabilities, and those of so many likeliest tokens.",
    )
    best_of: Choices | None = Field(default=None, description="Only the value of `n` is possible.")
    n: Choices | None = None
    temperature: Temperature | None = None
    top_p: TopP | None = None
    seed: Seed | None = None
    stop: Stops | None = None
    stream: Flag = None
    stream_options: StreamOptions | None = None
    frequency_penalty: Penalty | None = None
    presence_penalty: Penalty | None = None
    logit_bias: LogitBias | None = None
    user: Ignored = why("user")
    suffix: Refused = why("suffix")


class EmbeddingRequest(OpenAIRequest):
    """A request for vectors of texts by the embedding model."""

    model: Model = Field(description="The embedding model's name; `longleaf/embedder` names it too.")
    input: (
        Annotated[str, Field(min_length=1)]
        | Annotated[list[Annotated[str, Field(min_length=1)]], Field(min_length=1, max_length=2048)]
    ) = Field(description="A text or several. Token ids are another tokenizer's and are refused.")
    encoding_format: Literal["float", "base64"] | None = Field(
        default=None, description="`base64` is of little-endian float32."
    )
    input_type: Literal["document", "query"] | None = Field(
        default=None,
        description="Which of the model's two prefixes is put before each text, not OpenAI's own: `document` "
        "(the default) for what is searched, `query` for what is searched for.",
    )
    dimensions: Refused = why("dimensions")
    user: Ignored = why("user")
