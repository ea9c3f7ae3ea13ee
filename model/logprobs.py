"""What logits say about tokens: log-probabilities, many rows at a time in bounded memory."""

from __future__ import annotations

import torch
from torch import Tensor

_SLICE = 2**24
"""Logits that are read at a time where many rows are: 64 MiB in float32."""


def token_logprobs(logits: Tensor, targets: Tensor) -> Tensor:
    """Log-probabilities of targets [n] under logits [n, vocab]: float32 [n], on the logits' device.

    Reads some rows at a time: next to the logits it needs 64 MiB, or one row.
    """
    rows = max(1, _SLICE // max(1, logits.shape[-1]))
    result = torch.empty(len(targets), dtype=torch.float32, device=logits.device)
    for first in range(0, len(targets), rows):
        part = logits[first : first + rows].float()
        chosen = part.gather(1, targets[first : first + rows, None].to(part.device))[:, 0]
        result[first : first + rows] = chosen - part.logsumexp(dim=-1)
    return result


def top(logits: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k most probable ids of logits [n, vocab], best first, and their log-probabilities, both [n, k].

    Reads some rows at a time, as `token_logprobs` does.
    """
    rows = max(1, _SLICE // max(1, logits.shape[-1]))
    ids = torch.empty(len(logits), k, dtype=torch.long, device=logits.device)
    values = torch.empty(len(logits), k, dtype=torch.float32, device=logits.device)
    for first in range(0, len(logits) if k else 0, rows):
        part = logits[first : first + rows].float()
        best, ids[first : first + rows] = part.topk(k, dim=-1)
        values[first : first + rows] = best - part.logsumexp(dim=-1, keepdim=True)
    return ids, values
