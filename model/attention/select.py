"""Chooses the attention backend for a device and dtype."""

from __future__ import annotations

import torch

from model.attention.batch import Attend
from model.attention.flash import FlashAttend, flash_available
from model.attention.sdpa import attend_sdpa


def select_attention(device: torch.device, dtype: torch.dtype) -> Attend:
    """flash-attn where it is installed and fits (CUDA, half precision), torch's own kernels elsewhere."""
    if device.type == "cuda" and dtype in (torch.float16, torch.bfloat16) and flash_available():
        return FlashAttend()
    return attend_sdpa
