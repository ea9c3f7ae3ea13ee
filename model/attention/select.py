"""Chooses the attention backend for a device and dtype."""

from __future__ import annotations

import importlib
from collections.abc import Callable

import torch

from model.attention.batch import Attend
from model.attention.flash import (
    PAGE_MULTIPLE,
    Flash2Attend,
    Flash3Attend,
    Flash4Attend,
    flash2_installed,
    flash3_module,
    flash4_installed,
)
from model.attention.reference import ReferenceAttend
from model.attention.sdpa import SdpaAttend
from model.errors import HardwareError

HALF = (torch.float16, torch.bfloat16)


def select_attention(
    device: torch.device,
    dtype: torch.dtype,
    name: str = "auto",
    *,
    head_dim: int = 128,
    block_size: int = 256,
) -> Attend:
    """The backend of that name, or for "auto" the fastest that this device, dtype and installation have.

    On a CPU: the native kernels where they were built, else torch's. On CUDA: the flash-attn made for the
    GPU's generation, else an older one, else torch's own kernels.

    Args:
        name: "auto", "native", "flash4", "flash3", "flash2", "sdpa" or "reference".

    Raises:
        HardwareError: the name is unknown, or that backend cannot run here; says why not.
    """
    wanted = candidates(device) if name == "auto" else [name]
    for each in wanted:
        if each not in BACKENDS:
            raise HardwareError(f"attention {each!r} is unknown; use 'auto' or one of {', '.join(BACKENDS)}")
        obstacle, make = BACKENDS[each]
        why = obstacle(device, dtype, head_dim, block_size)
        if why is None:
            return make(device)
        if name != "auto":
            raise HardwareError(f"attention {name!r} cannot run here: {why}. Use 'auto' or 'sdpa'")
    raise HardwareError(f"no attention backend runs on {device} in {dtype} with head_dim {head_dim}")


def candidates(device: torch.device) -> list[str]:
    """Backends to try on this device, fastest first."""
    if device.type == "cpu":
        return ["native", "sdpa"]
    # FlashAttention-4 does not split a long past before Blackwell, which decoding needs more than anything.
    late = ["flash4", "flash2"] if capability(device) >= 10 else ["flash3", "flash2", "flash4"]
    return [*late, "sdpa"]


def capability(device: torch.device) -> int:
    """The major number of the GPU's compute capability; 0 for a CPU."""
    return torch.cuda.get_device_capability(device)[0] if device.type == "cuda" else 0


def _native(device: torch.device, dtype: torch.dtype, head_dim: int, _: int) -> str | None:
    if device.type != "cpu":
        return "its kernels are for CPUs"
    try:
        fits = importlib.import_module("model.attention.native").NativeAttend.fits(dtype, head_dim)
        available = importlib.import_module("model.native").available()
    except ImportError as error:
        return f"the native kernels are not there ({error})"
    if not available:
        return "the native kernels were not built for this machine"
    return None if fits else f"its kernels take neither {dtype} nor head_dim {head_dim}, or only one of them"


def _flash2(device: torch.device, dtype: torch.dtype, head_dim: int, block_size: int) -> str | None:
    if block_size % PAGE_MULTIPLE:
        return f"KV blocks of {block_size} tokens are no multiple of {PAGE_MULTIPLE}"
    return _flash(device, dtype, head_dim, installed=flash2_installed(), gpus=range(8, 100), largest=256)


def _flash3(device: torch.device, dtype: torch.dtype, head_dim: int, _: int) -> str | None:
    return _flash(
        device, dtype, head_dim, installed=flash3_module() is not None, gpus=range(9, 10), largest=256
    )


def _flash4(device: torch.device, dtype: torch.dtype, head_dim: int, _: int) -> str | None:
    # Paged keys work on 9.x, 10.x and 11.x only; from 10.x on, heads larger than 128 have rules of their own.
    largest = 256 if capability(device) == 9 else 128
    return _flash(device, dtype, head_dim, installed=flash4_installed(), gpus=range(9, 12), largest=largest)


def _flash(
    device: torch.device, dtype: torch.dtype, head_dim: int, *, installed: bool, gpus: range, largest: int
) -> str | None:
    if device.type != "cuda":
        return "it needs a CUDA device"
    if not installed:
        return "the library is not installed"
    if capability(device) not in gpus:
        return f"it does not run on GPUs of compute capability {capability(device)}.x"
    if dtype not in HALF:
        return f"it takes float16 and bfloat16, not {dtype}"
    if head_dim % 8 or head_dim > largest:
        return f"head_dim is {head_dim}; it takes multiples of 8 up to {largest}"
    return None


def _sdpa(device: torch.device, dtype: torch.dtype, head_dim: int, _: int) -> str | None:
    if device.type == "cuda" and (head_dim % 8 or head_dim > 256):
        return f"head_dim is {head_dim}; torch's CUDA kernels take multiples of 8 up to 256"
    return None if dtype.is_floating_point else f"{dtype} is no floating-point type"


def _make_native(_: torch.device) -> Attend:
    made: Attend = importlib.import_module("model.attention.native").NativeAttend()
    return made


Obstacle = Callable[[torch.device, torch.dtype, int, int], str | None]
"""Why a backend cannot run with this device, dtype, head_dim and block_size, or None."""

BACKENDS: dict[str, tuple[Obstacle, Callable[[torch.device], Attend]]] = {
    "native": (_native, _make_native),
    "flash4": (_flash4, lambda device: Flash4Attend(capability(device))),
    "flash3": (_flash3, lambda _: Flash3Attend()),
    "flash2": (_flash2, lambda _: Flash2Attend()),
    "sdpa": (_sdpa, lambda _: SdpaAttend()),
    "reference": (lambda *_: None, lambda _: ReferenceAttend()),
}
