"""How the next token is chosen from the logits."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from model.constraints.base import Constraint
from model.errors import ConstraintError
from model.logprobs import token_logprobs, top
from model.params import SamplingParams

_HEADS = (256, 4096)
"""How many of the most probable tokens are looked at before all of a vocabulary is sorted."""


@dataclass(frozen=True, slots=True)
class Choice:
    """A chosen token.

    Attributes:
        logprob: see `SamplingParams.logprobs`; None where it was not asked for.
        top: (id, logprob) of the model's most probable tokens, best first.
    """

    token: int
    logprob: float | None = None
    top: tuple[tuple[int, float], ...] = ()


class Sampler:
    """Chooses the tokens of one request: owns its random generator, what it has seen, its constraint's state.

    A token depends on the logits and the tokens before it alone, and takes one number of the generator (none
    when greedy): rows may come in any grouping. Where a row was a guess, call `next` as long as it gives what
    was guessed, and not for the rows after.

    Attributes:
        plain: `next` takes the largest of the logits as they are, says no more and remembers nothing.
    """

    def __init__(
        self,
        params: SamplingParams,
        prompt: Sequence[int],
        like: Tensor,
        constraint: Constraint | None = None,
    ) -> None:
        """
        Args:
            like: a row of logits: its size is the vocabulary, its device the sampler's.
            constraint: `params.constraint`, bound to this prompt.
        """
        self._params, self._constraint = params, constraint
        self.plain = params.plain and constraint is None
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
        # Bias, and what presence and frequency have cost so far.
        self._offset: Tensor | None = None
        self._penalised = params.presence_penalty != 0 or params.frequency_penalty != 0
        self._written: set[int] = set()
        if params.logit_bias or self._penalised:
            self._offset = torch.zeros_like(like)
            for token, amount in dict(params.logit_bias).items():
                self._offset[token] = amount

    @property
    def finished(self) -> bool:
        """Whether the constraint leaves nothing but a stop id: the answer is whole without it."""
        return self._constraint is not None and self._constraint.finished

    def forced(self) -> tuple[int, ...]:
        """The tokens that the constraint leaves no choice about: the best draft there is."""
        return () if self._constraint is None else self._constraint.forced()

    def next(self, logits: Tensor) -> Choice:
        """Choose from logits [vocab] (float32), which are left as they are, and remember the choice.

        Raises:
            ConstraintError: the constraint allows no token of this vocabulary, or gave up.
        """
        adjusted, ids = self._allowed(self._penalise(logits))
        index = _argmax(adjusted) if self._params.temperature == 0 else self._draw(adjusted)
        token = index if ids is None else int(ids[index])
        self._remember(token)
        if not self._params.logprobs:
            return Choice(token)
        logprob = float(token_logprobs(logits[None], torch.tensor([token], device=logits.device)))
        best, values = top(logits[None], min(self._params.top_logprobs, len(logits)))
        return Choice(token, logprob, tuple(zip(best[0].tolist(), values[0].tolist(), strict=True)))

    def replay(self, token: int) -> None:
        """Take up a token that the same request was given elsewhere, as if `next` had chosen it."""
        if self._params.temperature != 0:
            self._drawn()
        self._remember(token)

    def _penalise(self, logits: Tensor) -> Tensor:
        # Token by token: before or after the constraint's choice of tokens is the same.
        if self._seen is not None:
            penalty = self._params.repetition_penalty
            lowered = torch.where(logits > 0, logits / penalty, logits * penalty)
            logits = torch.where(self._seen, lowered, logits)
        return logits if self._offset is None else logits + self._offset

    def _allowed(self, logits: Tensor) -> tuple[Tensor, Tensor | None]:
        """The logits [k] of the tokens that the constraint allows, and their ids; None instead of all ids."""
        allowed = None if self._constraint is None else self._constraint.allowed()
        if allowed is None:
            return logits, None
        if len(allowed) and allowed[-1] >= len(logits):
            allowed = allowed[allowed < len(logits)]
        if not len(allowed):
            raise ConstraintError("the constraint allows no token of this vocabulary here")
        ids = torch.from_numpy(allowed)
        if logits.device.type == "cpu":
            # numpy gathers and finds maxima 3 and 10 times as fast as torch does.
            return torch.from_numpy(logits.numpy().take(allowed)), ids
        return logits[ids.to(logits.device)], ids

    def _draw(self, logits: Tensor) -> int:
        tokens, probabilities = candidates(logits, self._params)
        # In (0, 1]: what has probability 0 is never the first to reach it.
        drawn = 1 - self._drawn()
        reached = probabilities.cumsum(dim=-1, dtype=torch.float64)
        index = int(torch.searchsorted(reached, drawn.to(reached.device) * reached[-1]))
        index = min(index, len(reached) - 1)
        return index if tokens is None else int(tokens[index])

    def _drawn(self) -> Tensor:
        # On the CPU, so that a seed means the same on every device.
        return torch.rand((), dtype=torch.float64, generator=self._generator)

    def _remember(self, token: int) -> None:
        if self._seen is not None:
            self._seen[token] = True
        if self._penalised and self._offset is not None:
            new = token not in self._written
            self._written.add(token)
            self._offset[token] -= self._params.frequency_penalty + new * self._params.presence_penalty
        if self._constraint is not None:
            self._constraint.advance(token)


def candidates(logits: Tensor, params: SamplingParams) -> tuple[Tensor | None, Tensor]:
    """The tokens that may be drawn, most probable first, and their probabilities, both [k].

    None instead of the tokens: all, in the order of their ids. temperature, then top-k, top-p on what is
    left, then min-p, in the order of transformers' warpers.
    """
    # The largest taken off first: a small temperature must not overflow.
    scaled = (logits - logits.max()) / params.temperature
    size = scaled.numel()
    if not (0 < params.top_k < size) and params.top_p == 1 and params.min_p == 0:
        return None, scaled.softmax(dim=-1)
    if 0 < params.top_k < size:
        values, tokens = scaled.topk(params.top_k)
        return _cut(values, tokens, values.logsumexp(dim=-1), params)
    total = scaled.logsumexp(dim=-1)
    # Sorting a large vocabulary takes milliseconds; nearly always its head holds what is kept.
    for head in (each for each in _HEADS if each < size):
        values, tokens = scaled.topk(head)
        kept_tokens, kept = _cut(values, tokens, total, params)
        if len(kept) < head:
            return kept_tokens, kept
    values, tokens = scaled.sort(descending=True, stable=True)
    return _cut(values, tokens, total, params)


def _cut(values: Tensor, tokens: Tensor, total: Tensor, params: SamplingParams) -> tuple[Tensor, Tensor]:
    """top-p and min-p of the most probable tokens, `total` the log of all tokens' sum."""
    probabilities = (values - total).exp()
    keep = len(probabilities)
    if params.top_p < 1:
        # A token stays if those before it do not hold top_p already; the first always stays.
        before = probabilities.cumsum(dim=-1) - probabilities
        keep = max(1, int((before < params.top_p).sum()))
    if params.min_p > 0:
        keep = min(keep, max(1, int((values >= values[0] + math.log(params.min_p)).sum())))
    kept = probabilities[:keep]
    return tokens[:keep], kept / kept.sum()


def _argmax(logits: Tensor) -> int:
    return int(logits.numpy().argmax() if logits.device.type == "cpu" else logits.argmax())
