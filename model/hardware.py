"""What this machine can do: devices, CPU features, and the dtype that is fast on it."""

from __future__ import annotations

import json
import os
import platform
import time
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import torch

from model.errors import HardwareError

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
_FEATURES = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8", "asimd", "bf16", "sve")

_CPUINFO = Path("/proc/cpuinfo")


@dataclass(frozen=True)
class Hardware:
    """The machine as the engine sees it.

    Attributes:
        device: "cpu" or "cuda".
        device_name: the processor's or GPU's own name.
        threads: CPU threads that torch uses.
        features: instruction sets of the CPU that matter for matrix products.
        memory_bytes: of the device; 0 where it is not known.
        dtype: the dtype that `dtype="auto"` takes on this device.
        prefill_speedup, decode_speedup: how many times faster bfloat16 is than float32 in a matrix product
            with many rows and with one, measured on a CPU; None on a GPU.
    """

    device: str
    device_name: str
    threads: int
    features: tuple[str, ...]
    memory_bytes: int
    dtype: str
    prefill_speedup: float | None
    decode_speedup: float | None


def describe(device: str = "auto", cache_path: Path | None = None) -> Hardware:
    """Describe the machine; on a CPU this measures some matrix products (tens of milliseconds).

    Args:
        device: "auto" (a GPU where there is one), "cpu", "cuda" or "cuda:N".
        cache_path: JSON file to keep the measurement in. It is used again while CPU, threads and torch
            are the same, and written when it is not there.

    Raises:
        HardwareError: the device does not exist.
    """
    chosen = resolve_device(device)
    if chosen.type == "cuda":
        properties = torch.cuda.get_device_properties(chosen)
        return Hardware(
            device=str(chosen),
            device_name=properties.name,
            threads=torch.get_num_threads(),
            features=(f"sm{properties.major}{properties.minor}",),
            memory_bytes=properties.total_memory,
            dtype="bfloat16" if torch.cuda.is_bf16_supported() else "float16",
            prefill_speedup=None,
            decode_speedup=None,
        )
    name, features = _cpu()
    key = f"{name}; {','.join(features)}; {torch.get_num_threads()} threads; torch {torch.__version__}"
    prefill, decode = _cached(cache_path, key) or _measure_and_keep(cache_path, key)
    return Hardware(
        device="cpu",
        device_name=name,
        threads=torch.get_num_threads(),
        features=features,
        memory_bytes=memory_bytes(),
        # Reading the prompt is most of the work here, but a slower decode must not pay for it.
        dtype="bfloat16" if prefill > 1.1 and decode > 0.9 else "float32",
        prefill_speedup=prefill,
        decode_speedup=decode,
    )


def resolve_device(device: str, *, here: bool = True) -> torch.device:
    """The torch device for "auto", "cpu", "cuda" or "cuda:N".

    Args:
        here: whether it is this machine's; "auto" is a CPU elsewhere.

    Raises:
        HardwareError: unknown name, or no such GPU.
    """
    if device == "auto" and not here:
        return torch.device("cpu")
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    kind, _, index = device.partition(":")
    if kind == "cpu" and not index:
        return torch.device("cpu")
    if kind != "cuda" or (index and not index.isdigit()):
        raise HardwareError(f"device {device!r} is unknown; use 'auto', 'cpu', 'cuda' or 'cuda:N'")
    if not here:
        return torch.device(device)
    count = torch.cuda.device_count()
    if int(index or 0) >= count:
        raise HardwareError(f"device {device!r} does not exist: torch sees {count} CUDA devices")
    return torch.device(device)


def resolve_dtype(dtype: str) -> torch.dtype:
    """The torch dtype of a name.

    Raises:
        HardwareError: unknown name.
    """
    if dtype not in _DTYPES:
        raise HardwareError(f"dtype {dtype!r} is unknown; use 'auto' or one of {', '.join(_DTYPES)}")
    return _DTYPES[dtype]


def bf16_speedups() -> tuple[float, float]:
    """float32 time / bfloat16 time of a product with 256 rows, and of one with a single row."""
    # CPUs without bfloat16 instructions take up to 150 times as long; a small product tells without the wait.
    tiny = _speedup(16, 256, 256)
    if tiny < 1 / 4:
        return tiny, tiny
    # One row is bound by memory: the matrix has to be larger than the caches to show it.
    return _speedup(256, 512, 1024), _speedup(1, 4096, 2048)


def _speedup(rows: int, outputs: int, inputs: int, repeats: int = 7) -> float:
    """float32 / bfloat16 best time of x [rows, inputs] times w [outputs, inputs] transposed.

    On one thread, in turns, best runs only: with several, another busy process makes threads wait for each
    other and the ratio was seen to be wrong by a factor of ten.
    """
    threads = torch.get_num_threads()
    best = {torch.float32: float("inf"), torch.bfloat16: float("inf")}
    x, w = torch.ones(rows, inputs), torch.ones(outputs, inputs)
    operands = {dtype: (x.to(dtype), w.to(dtype)) for dtype in best}
    torch.set_num_threads(1)
    try:
        with torch.inference_mode():
            for _ in range(repeats):
                for dtype, (left, right) in operands.items():
                    begin = time.perf_counter()
                    torch.nn.functional.linear(left, right)
                    best[dtype] = min(best[dtype], time.perf_counter() - begin)
    finally:
        torch.set_num_threads(threads)
    return round(best[torch.float32] / best[torch.bfloat16], 2)


def _cached(path: Path | None, key: str) -> tuple[float, float] | None:
    if path is None or not path.is_file():
        return None
    try:
        kept = json.loads(path.read_text("utf-8"))
        return (float(kept["prefill"]), float(kept["decode"])) if kept["key"] == key else None
    except (OSError, ValueError, KeyError, TypeError):
        return None  # a damaged file is measured again


def _measure_and_keep(path: Path | None, key: str) -> tuple[float, float]:
    prefill, decode = bf16_speedups()
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"key": key, "prefill": prefill, "decode": decode}), "utf-8")
    return prefill, decode


def _cpu() -> tuple[str, tuple[str, ...]]:
    """Name and relevant features of the CPU."""
    name = _cpuinfo().get("model name") or platform.processor() or platform.machine()
    return name, tuple(feature for feature in _FEATURES if feature in cpu_flags())


def cpu_flags() -> frozenset[str]:
    """What the kernel says that the CPU can do, by its names for it; nothing where there is no /proc."""
    return frozenset(_cpuinfo().get("flags", _cpuinfo().get("Features", "")).split())


@cache
def _cpuinfo() -> dict[str, str]:
    """The fields of the first processor."""
    fields: dict[str, str] = {}
    if _CPUINFO.is_file():
        for line in _CPUINFO.read_text("utf-8", "replace").split("\n\n")[0].splitlines():
            name, _, value = line.partition(":")
            fields[name.strip()] = value.strip()
    return fields


def memory_bytes() -> int:
    """Main memory of the machine; 0 where it is not known."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        return 0


def to_json(hardware: Hardware) -> dict[str, object]:
    """The fields as a JSON object, for a status command."""
    return asdict(hardware)
