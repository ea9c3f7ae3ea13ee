"""Chooses the number format of the forward pass by what this machine does fast."""

from __future__ import annotations

import math
import time
from functools import cache
from typing import Literal

import torch

from rag.errors import Unavailable

_SAMPLES = 8
_HOPELESS = 30
"""Times slower at which no further sample is taken, for one may last long; the first is never a fair one."""


@cache
def faster_on_cpu() -> torch.dtype:
    """Return bfloat16 where a matrix product in it takes less than 0.8 of the time in float32, else float32.

    CPUs without bf16 instructions are over a hundred times slower in it, so a small product tells them apart
    within some tens of milliseconds. Time is the thread's own and both take turns, for on a busy machine the
    clock on the wall would choose by what the other programs did.
    """
    seconds: dict[torch.dtype, float] = {}
    for number in range(_SAMPLES):
        for dtype in (torch.float32, torch.bfloat16):
            x = torch.ones((256, 384), dtype=dtype)
            weight = torch.ones((384, 384), dtype=dtype)
            began = time.thread_time()
            torch.nn.functional.linear(x, weight)
            seconds[dtype] = min(time.thread_time() - began, seconds.get(dtype, math.inf))
        if number and seconds[torch.bfloat16] > _HOPELESS * seconds[torch.float32]:
            break
    return torch.bfloat16 if seconds[torch.bfloat16] < 0.8 * seconds[torch.float32] else torch.float32


def choose(device: str, dtype: Literal["auto", "float32", "bfloat16", "float16"]) -> tuple[str, torch.dtype]:
    """Resolve the settings `device` and `dtype` to a torch device and a dtype.

    Raises `Unavailable` when a CUDA device is asked for and there is none.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise Unavailable(
            f"LONGLEAF_DEVICE is {device!r} but torch sees no CUDA device: set it to `auto` or `cpu`.",
            code="device_missing",
        )
    if dtype != "auto":
        return device, getattr(torch, dtype)
    return device, torch.bfloat16 if device.startswith("cuda") else faster_on_cpu()
