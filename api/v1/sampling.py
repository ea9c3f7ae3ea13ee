"""A request's parameters as the sampler's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from model import SamplingParams
from model.constraints import ConstraintSpec

_LEAST_TOP_P = 1e-9
"""0 is allowed by OpenAI and means the likeliest token, which the smallest share holds."""


class Sampled(Protocol):
    """The parameters that chat, completions and responses share."""

    @property
    def temperature(self) -> float | None: ...
    @property
    def top_p(self) -> float | None: ...


def sampling(
    body: Sampled,
    most: int,
    *,
    constraint: ConstraintSpec | None = None,
    logprobs: bool = False,
    top_logprobs: int = 0,
) -> SamplingParams:
    """Raises ParameterError for what the sampler does not take."""
    given = vars(body)
    stop = given.get("stop") or ()
    bias: Mapping[str, float] = given.get("logit_bias") or {}
    values: dict[str, Any] = {
        "frequency_penalty": given.get("frequency_penalty"),
        "presence_penalty": given.get("presence_penalty"),
    }
    return SamplingParams(
        max_tokens=most,
        temperature=1.0 if body.temperature is None else body.temperature,
        top_p=1.0 if body.top_p is None else max(body.top_p, _LEAST_TOP_P),
        seed=seed_of(given.get("seed")),
        stop=(stop,) if isinstance(stop, str) else tuple(stop),
        logit_bias={int(token): amount for token, amount in bias.items()},
        logprobs=logprobs,
        top_logprobs=top_logprobs,
        constraint=constraint,
        **{name: value for name, value in values.items() if value is not None},
    )


def seed_of(value: int | None) -> int | None:
    """A seed as the sampler takes it: OpenAI's may be negative."""
    return None if value is None else value % 2**63
