"""Checks of the machine and of what is installed on it."""

from __future__ import annotations

import os
import platform
import resource
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from api.doctor.finding import Case, Finding, failure, ok, skipped, warning
from api.inventory import generator_path
from api.loaders import hardware_cache
from api.terminal import human_bytes
from ingest.limits import most_memory
from model.errors import ModelError
from model.hardware import describe, memory_bytes

CGROUP = Path("/sys/fs/cgroup")
DESCRIPTORS = 1024
"""Open files that a busy server may need: connections, mapped indexes, blocks, databases."""
_SLOWER = 0.9


def python(_case: Case) -> Finding:
    """Python's version."""
    try:
        needed = SpecifierSet(metadata.metadata("longleaf")["Requires-Python"])
    except metadata.PackageNotFoundError:
        return skipped("longleaf runs without being installed, so it does not say what it needs")
    here = platform.python_version()
    if here not in needed:
        return failure(
            f"Python {here} runs this, which needs {needed}",
            "make the virtual environment anew with Python 3.11: rm -r .venv, then make run",
        )
    return ok(f"Python {here}")


def packages(case: Case) -> Finding:
    """Versions of what is installed, against what this package asks for."""
    try:
        declared = [Requirement(line) for line in metadata.requires("longleaf") or ()]
    except metadata.PackageNotFoundError:
        return skipped("longleaf runs without being installed, so it does not say what it needs")
    extras = ["", *([] if case.is_sqlite else ["postgres"])]
    wrong = []
    for each in declared:
        if each.marker is not None and not any(each.marker.evaluate({"extra": extra}) for extra in extras):
            continue
        try:
            here = metadata.version(each.name)
        except metadata.PackageNotFoundError:
            wrong.append(f"{each.name} is missing")
            continue
        if not each.specifier.contains(here, prereleases=True):
            wrong.append(f"{each.name} is {here}, needed is {each.specifier}")
    if wrong:
        return failure("; ".join(wrong), "pip install -c constraints.txt -e . (or: make run)")
    return ok(f"{len(declared)} requirements hold")


def descriptors(_case: Case) -> Finding:
    """How many files may be open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < DESCRIPTORS:
        return warning(
            f"{soft} files may be open (hard limit {hard}); {DESCRIPTORS} can be needed",
            f"ulimit -n {DESCRIPTORS}, LimitNOFILE={DESCRIPTORS} in a systemd unit, or ulimits in compose",
        )
    return ok(f"{soft} files may be open")


def memory(case: Case) -> Finding:
    """What model, KV tier and parsers need together, against what there is or what the cgroup allows."""
    settings, limit = case.settings, _memory_limit()
    if not limit:
        return skipped("how much memory there is can't be told here")
    path, _ = generator_path(settings)
    weights = 0 if path is None or settings.device.startswith("cuda") else _weights(path)
    parsers = most_memory(settings)
    needed = weights + settings.kv_memory_bytes + parsers
    parts = (
        f"{human_bytes(needed)} of {human_bytes(limit)} may be needed: model {human_bytes(weights)}, KV tier "
        f"{human_bytes(settings.kv_memory_bytes)}, {settings.ingest_workers} parsers {human_bytes(parsers)}"
    )
    remedy = (
        "choose a smaller model, lower LONGLEAF_KV_MEMORY_BYTES, LONGLEAF_INGEST_WORKERS or "
        "LONGLEAF_PARSE_MEMORY_BYTES, or give the container more"
    )
    if needed > limit:
        return failure(parts, remedy)
    return warning(parts, remedy) if needed > 0.85 * limit else ok(parts)


def number_format(case: Case) -> Finding:
    """Whether the number format is one that this machine is slow in."""
    cache = hardware_cache(case.settings)
    try:
        here = describe(case.settings.device, cache if cache.is_file() else None)
    except ModelError as error:
        return failure(str(error), "set LONGLEAF_DEVICE=auto, or to a device that is there")
    chosen = here.dtype if case.settings.dtype == "auto" else case.settings.dtype
    if here.device != "cpu":
        return ok(f"{chosen} on {here.device_name}")
    speed = min(here.prefill_speedup or 1.0, here.decode_speedup or 1.0)
    if chosen == "bfloat16" and speed < _SLOWER:
        return warning(
            f"LONGLEAF_DTYPE is bfloat16, which {here.device_name} runs {speed:g} times as fast as float32",
            "set LONGLEAF_DTYPE=auto",
        )
    if chosen == "float16":
        return warning(
            f"LONGLEAF_DTYPE is float16, for which no CPU has instructions ({here.device_name})",
            "set LONGLEAF_DTYPE=auto",
        )
    if platform.machine() == "x86_64" and "avx2" not in here.features:
        return warning(
            f"{here.device_name} offers no AVX2, without which reading takes many times as long",
            "use another machine, or let the hypervisor pass the CPU's features on (CPU type `host`)",
        )
    return ok(f"{chosen} on {here.device_name} ({', '.join(here.features) or 'no special instructions'})")


def threads(_case: Case) -> Finding:
    """Whether torch runs more threads than there are cores to run them."""
    import torch  # noqa: PLC0415 (slow to import)

    cores, used = _cores(), torch.get_num_threads()
    if used > cores:
        return warning(
            f"{used} threads share {cores:g} cores and wait for each other",
            f"set OMP_NUM_THREADS={max(1, int(cores))} for the service",
        )
    return ok(f"{used} threads on {cores:g} cores")


def _cores() -> float:
    """Cores that this process may use, by affinity and by the cgroup's quota."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = (CGROUP / "cpu.max").read_text("ascii").split()
        return min(allowed, round(int(quota) / int(period), 2))
    except (OSError, ValueError):  # no cgroup, or `max`
        return allowed


def _memory_limit() -> int:
    """Bytes that this process may use; 0 where it is not known."""
    try:
        return min(int((CGROUP / "memory.max").read_text("ascii")), memory_bytes() or 2**63)
    except (OSError, ValueError):
        return memory_bytes()


def _weights(path: Path) -> int:
    if path.is_file():
        return path.stat().st_size
    return sum(file.stat().st_size for file in path.glob("*.safetensors"))
