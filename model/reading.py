"""Prompts that are read for their logits, with nothing written after them."""

from __future__ import annotations

import threading
from dataclasses import dataclass

import torch
from torch import Tensor

from model.errors import ParameterError, PromptError
from model.logprobs import token_logprobs, top
from model.loop import Loop
from model.request import Request


@dataclass(frozen=True)
class Ranked:
    """What the model thought of each token of a prompt but the first, float32 on the CPU.

    Attributes:
        logprobs: [n - 1], of the token that stands there, given all before it.
        top_ids, top_logprobs: [n - 1, k], the most probable tokens in its place, best first.
    """

    logprobs: Tensor
    top_ids: Tensor
    top_logprobs: Tensor


def read_logits(loop: Loop, ids: list[int]) -> Tensor:
    """Logits of every position, float32 [n, vocab] on the CPU."""
    parts: list[Tensor] = []

    def collect(_: int, logits: Tensor) -> None:
        parts.append(logits.cpu())

    _read(loop, Request(len(ids), ids, threading.Event(), collect=collect))
    return torch.cat(parts)


def read_scores(loop: Loop, ids: list[int], wanted: range, salt: str, tags: frozenset[str]) -> Tensor:
    """Log-probabilities of the ids at the places `wanted`, each given all before it; float32 on the CPU.

    Raises ParameterError unless `wanted` is some of 1 to len(ids) - 1.
    """
    if not 1 <= wanted.start < wanted.stop <= len(ids):
        raise ParameterError(
            f"start is {wanted.start} and stop {wanted.stop}; allowed: 1 <= start < stop <= {len(ids)} tokens"
        )
    parts: list[Tensor] = []

    def collect(first: int, logits: Tensor) -> None:
        # Row i predicts token i + 1.
        targets = torch.tensor(ids[first + 1 : first + 1 + len(logits)], device=logits.device)
        parts.append(token_logprobs(logits, targets).cpu())

    read = ids[: wanted.stop - 1]
    _read(
        loop,
        Request(
            len(read),
            read,
            threading.Event(),
            collect=collect,
            read_from=wanted.start - 1,
            salt=salt,
            tags=tags,
        ),
    )
    return torch.cat(parts)


def read_ranked(
    loop: Loop, ids: list[int], k: int, *, cancel: threading.Event, salt: str, tags: frozenset[str]
) -> Ranked | None:
    """What the model thinks of each id but the first; None when `cancel` was set before all was read.

    Raises PromptError for one id alone, ParameterError for a negative `k`.
    """
    if len(ids) < 2:
        raise PromptError("the prompt has one token, which stands after nothing; give at least two")
    if k < 0:
        raise ParameterError(f"k is {k}; allowed: at least 0")
    targets = ids[1:]
    parts: list[tuple[Tensor, Tensor, Tensor]] = []

    def collect(first: int, logits: Tensor) -> None:
        wanted = torch.tensor(targets[first : first + len(logits)], device=logits.device)
        best, values = top(logits, min(k, logits.shape[-1]))
        parts.append((token_logprobs(logits, wanted).cpu(), best.cpu(), values.cpu()))

    _read(loop, Request(len(targets), ids[:-1], cancel, collect=collect, salt=salt, tags=tags))
    if sum(len(logprobs) for logprobs, _, _ in parts) < len(targets):
        return None
    return Ranked(*(torch.cat(part) for part in zip(*parts, strict=True)))


def _read(loop: Loop, request: Request) -> None:
    loop.submit(request)
    request.done.result()
