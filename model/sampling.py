"""How the next token is chosen from the logits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from model.errors import ParameterError


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
        seed: makes the answer repeatable; None draws one.
        stop: strings that end the answer; they are not part of it.
        stop_token_ids: ids that end the answer, beside those of the model.
        ignore_eos: go on after the model's own stop ids, for measurements.

    Raises:
        ParameterError: a value out of range, with its limits.
    """

    max_tokens: int = 512
    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    seed: int | None = None
    stop: tuple[str, ...] = ()
    stop_token_ids: tuple[int, ...] = ()
    ignore_eos: bool = False

    def __post_init__(self) -> None:
        _require("max_tokens", self.max_tokens, self.max_tokens >= 1, "at least 1")
        _require("temperature", self.temperature, 0 <= self.temperature <= 100, "0 to 100")
        _require("top_k", self.top_k, self.top_k >= 0, "at least 0")
        _require("top_p", self.top_p, 0 < self.top_p <= 1, "above 0, at most 1")
        _require("min_p", self.min_p, 0 <= self.min_p <= 1, "0 to 1")
        penalty = self.repetition_penalty
        _require("repetition_penalty", penalty, 0 < penalty <= 100, "above 0, at most 100")
        _require("seed", self.seed, self.seed is None or 0 <= self.seed < 2**63, "0 to 2^63 - 1")
        if isinstance(self.stop, str):
            raise ParameterError(f"stop is the string {self.stop!r}; give a tuple of strings")
        object.__setattr__(self, "stop", tuple(self.stop))
        object.__setattr__(self, "stop_token_ids", tuple(self.stop_token_ids))
        _require("stop", self.stop, all(self.stop), "no empty string")


class Sampler:
    """Draws the tokens of one request; owns its random generator and its memory of seen tokens."""

    def __init__(self, params: SamplingParams, prompt: Sequence[int], like: Tensor) -> None:
        """`like` is a row of logits: its size is the vocabulary, its device the sampler's."""
        self._params = params
        self._generator = torch.Generator()
        if params.seed is None:
            self._generator.seed()
        else:
            self._generator.manual_seed(params.seed)
        self._seen: Tensor | None = None
        if params.repetition_penalty != 1:
            self._seen = torch.zeros_like(like, dtype=torch.bool)
            known = [token for token in prompt if token < len(like)]
            self._seen[torch.tensor(known, dtype=torch.long, device=like.device)] = True

    def next(self, logits: Tensor) -> int:
        """Choose from logits [vocab] (float32) and remember the choice."""
        params = self._params
        if self._seen is not None:
            penalty = params.repetition_penalty
            lowered = torch.where(logits > 0, logits / penalty, logits * penalty)
            logits = torch.where(self._seen, lowered, logits)
        if params.temperature == 0:
            token = int(logits.argmax())
        else:
            tokens, probabilities = candidates(logits, params)
            # Drawn on the CPU, so that a seed means the same on every device.
            drawn = torch.multinomial(probabilities.cpu(), 1, generator=self._generator)
            token = int(tokens[int(drawn)])
        if self._seen is not None:
            self._seen[token] = True
        return token


def candidates(logits: Tensor, params: SamplingParams) -> tuple[Tensor, Tensor]:
    """The tokens that may be drawn, most probable first, and their probabilities, both [k].

    temperature, then top-k, top-p on what is left, then min-p, in the order of transformers' warpers.
    """
    scaled = logits / params.temperature
    if params.top_k and params.top_k < scaled.numel():
        values, tokens = scaled.topk(params.top_k)
    else:
        values, tokens = scaled.sort(descending=True, stable=True)
    probabilities = values.softmax(dim=-1)
    if params.top_p < 1:
        # A token stays if those before it do not hold top_p already; the first always stays.
        before = probabilities.cumsum(dim=-1) - probabilities
        keep = max(1, int((before < params.top_p).sum()))
        probabilities, tokens = probabilities[:keep], tokens[:keep]
    if params.min_p > 0:
        keep = int((probabilities >= params.min_p * probabilities[0]).sum())
        probabilities, tokens = probabilities[:keep], tokens[:keep]
    return tokens, probabilities / probabilities.sum()


def _require(name: str, value: object, holds: bool, limits: str) -> None:
    if not holds:
        raise ParameterError(f"{name} is {value!r}; allowed: {limits}")
