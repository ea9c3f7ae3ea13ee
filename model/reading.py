"""Prompts that are read for their logits, with nothing written after them."""

from __future__ import annotations

import threading

import torch
from torch import Tensor

from model.loop import Loop
from model.request import Request
from model.sampling import token_logprobs


def read_logits(loop: Loop, ids: list[int]) -> Tensor:
    """Logits of every position, float32 [n, vocab] on the CPU."""
    parts: list[Tensor] = []

    def collect(_: int, logits: Tensor) -> None:
        parts.append(logits.cpu())

    _read(loop, Request(len(ids), ids, threading.Event(), collect=collect))
    return torch.cat(parts)


def read_scores(loop: Loop, ids: list[int], wanted: range, salt: str, tags: frozenset[str]) -> Tensor:
    """Log-probabilities of the ids at the places `wanted`, each given all before it; float32 on the CPU."""
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


def _read(loop: Loop, request: Request) -> None:
    loop.submit(request)
    request.done.result()
