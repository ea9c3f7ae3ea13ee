"""Joins attention over two sets of keys into attention over their union, exactly."""

from __future__ import annotations

import torch
from torch import Tensor


def merge(first: Tensor, first_lse: Tensor, second: Tensor, second_lse: Tensor) -> tuple[Tensor, Tensor]:
    """Softmax attention over a union of keys from the attention over each part.

    With o_i the output over part i and l_i the log of its summed exponentials, the whole is
    (e^l_1 · o_1 + e^l_2 · o_2) / (e^l_1 + e^l_2), and e^l_2 / (e^l_1 + e^l_2) = sigmoid(l_2 - l_1).
    Source: "online softmax" (Milakov & Gimelshein 2018), as in FlashAttention's split over keys.

    Args:
        first, second: [heads, n, head_dim].
        first_lse, second_lse: [heads, n], float32, finite.

    Returns:
        [heads, n, head_dim] and [heads, n], both float32, so that many parts can be merged with one rounding.
    """
    share = torch.sigmoid(second_lse - first_lse).unsqueeze(-1)
    return torch.lerp(first.float(), second.float(), share), torch.logaddexp(first_lse, second_lse)
