"""What a request asks of the sampler."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from model.constraints.base import ConstraintSpec
from model.errors import ParameterError

MOST_TOP_LOGPROBS = 20


@dataclass(frozen=True)
class SamplingParams:
    """What a request asks of the sampler.

    Attributes:
        max_tokens: most new tokens; the end of the context ends the answer too.
        temperature: 0 is greedy; otherwise logits are divided by it.
        top_k: keep the k most probable tokens; 0 keeps all.
        top_p: keep the smallest set of most probable tokens that holds this probability (Holtzman 2020).
        min_p: keep tokens with at least this share of the most probable one's probability (Nguyen 2024).
        repetition_penalty: divides positive and multiplies negative logits of every token of prompt and
            answer so far (Keskar et al. 2019); 1 is off.
        presence_penalty: taken from the logit of every token that the answer holds already.
        frequency_penalty: taken from it once for each time; both as in OpenAI's API.
        logit_bias: added to the logits of these ids; a mapping, kept as sorted pairs.
        seed: makes the answer repeatable; None draws one.
        stop: strings that end the answer; they are not part of it.
        stop_token_ids: ids that end the answer, beside those of the model.
        ignore_eos: go on after the model's own stop ids, for measurements; not with a constraint.
        logprobs: give the log-probability of every token: what the model itself thought, that is the
            log-softmax of its logits before constraint, penalties, bias, temperature and truncation. So it
            is what `Engine.score` gives for the same text (but for padding rows of the head, which count
            there), and adds up to the text's likelihood.
        top_logprobs: give so many of the model's most probable tokens with theirs; a constraint may forbid
            some of them.
        constraint: what the answer has to be.

    Raises:
        ParameterError: a value out of range, with its limits.
    """

    max_tokens: int = 512
    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: Mapping[int, float] | tuple[tuple[int, float], ...] = ()
    seed: int | None = None
    stop: tuple[str, ...] = ()
    stop_token_ids: tuple[int, ...] = ()
    ignore_eos: bool = False
    logprobs: bool = False
    top_logprobs: int = 0
    constraint: ConstraintSpec | None = None

    def __post_init__(self) -> None:
        _require("max_tokens", self.max_tokens, self.max_tokens >= 1, "at least 1")
        _require("temperature", self.temperature, 0 <= self.temperature <= 100, "0 to 100")
        _require("top_k", self.top_k, self.top_k >= 0, "at least 0")
        _require("top_p", self.top_p, 0 < self.top_p <= 1, "above 0, at most 1")
        _require("min_p", self.min_p, 0 <= self.min_p <= 1, "0 to 1")
        penalty = self.repetition_penalty
        _require("repetition_penalty", penalty, 0 < penalty <= 100, "above 0, at most 100")
        _require("presence_penalty", self.presence_penalty, -2 <= self.presence_penalty <= 2, "-2 to 2")
        _require("frequency_penalty", self.frequency_penalty, -2 <= self.frequency_penalty <= 2, "-2 to 2")
        bias = tuple(sorted(dict(self.logit_bias).items()))
        fits = all(token >= 0 and -100 <= amount <= 100 for token, amount in bias)
        _require("logit_bias", self.logit_bias, fits, "token ids to -100 to 100")
        object.__setattr__(self, "logit_bias", bias)
        _require("seed", self.seed, self.seed is None or 0 <= self.seed < 2**63, "0 to 2^63 - 1")
        if isinstance(self.stop, str):
            raise ParameterError(f"stop is the string {self.stop!r}; give a tuple of strings")
        object.__setattr__(self, "stop", tuple(self.stop))
        object.__setattr__(self, "stop_token_ids", tuple(self.stop_token_ids))
        _require("stop", self.stop, all(self.stop), "no empty string")
        limits = f"0 to {MOST_TOP_LOGPROBS}, above 0 only with logprobs"
        most = MOST_TOP_LOGPROBS if self.logprobs else 0
        _require("top_logprobs", self.top_logprobs, 0 <= self.top_logprobs <= most, limits)
        free = self.constraint is None or not self.ignore_eos
        _require("ignore_eos", self.ignore_eos, free, "False with a constraint, which ends with a stop id")

    @property
    def plain(self) -> bool:
        """Whether the next token is that of the largest logit, and no more is said about it."""
        penalised = self.repetition_penalty != 1 or self.presence_penalty != 0 or self.frequency_penalty != 0
        changed = penalised or bool(self.logit_bias) or self.constraint is not None
        return self.temperature == 0 and not changed and not self.logprobs

    def check_vocabulary(self, size: int) -> None:
        """
        Raises:
            ParameterError: `logit_bias` names an id that a vocabulary of `size` does not have.
        """
        last = max(dict(self.logit_bias), default=0)
        _require("logit_bias", {last: ...}, last < size, f"ids 0 to {size - 1}")


def _require(name: str, value: object, holds: bool, limits: str) -> None:
    if not holds:
        raise ParameterError(f"{name} is {value!r}; allowed: {limits}")
