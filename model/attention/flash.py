"""Attention by the flash-attn library (Dao 2023) on CUDA.

flash_attn ≥ 2.1 aligns the causal triangle bottom-right, so one call covers past and new tokens.
"""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

from torch import Tensor


def flash_available() -> bool:
    """Whether flash-attn is installed (it is not imported by asking)."""
    return importlib.util.find_spec("flash_attn") is not None


class FlashAttend:
    """Calls `flash_attn_func`, which is imported when the backend is made, never before."""

    def __init__(self) -> None:
        self._flash: Any = importlib.import_module("flash_attn").flash_attn_func

    def __call__(self, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Shapes as in `model.attention.batch.Attend`; float16 or bfloat16 on CUDA only."""
        # flash-attn wants [batch, positions, heads, head_dim]; only the last axis has to be contiguous.
        out: Tensor = self._flash(
            queries[None], keys.transpose(0, 1)[None], values.transpose(0, 1)[None], causal=True
        )
        return out[0]
