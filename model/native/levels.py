"""The instruction-set levels for which the kernels are compiled, and where sources and libraries lie."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
SOURCES = HERE / "src"
LIBRARIES = HERE / "lib"
FLAGS = (
    "-std=gnu11", "-O3", "-fPIC", "-shared", "-fvisibility=hidden", "-pthread",
    "-Wall", "-Wextra", "-Wno-psabi",
    # One rounding for a product and a sum, in every variant of a loop; no other liberty with arithmetic.
    "-ffp-contract=fast", "-fno-math-errno", "-fno-trapping-math",
)  # fmt: skip


@dataclass(frozen=True)
class Level:
    """A set of instructions to compile for.

    Attributes:
        needs: flags of /proc/cpuinfo without which the library must not be loaded.
        flags: what GCC and Clang are told.
        zig: the same for `zig cc`.
    """

    name: str
    needs: frozenset[str]
    flags: tuple[str, ...]
    zig: str


_V3 = frozenset({"avx2", "fma", "f16c", "bmi1", "bmi2", "movbe"})
_V4 = _V3 | {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}
_WIDE = ("-march=x86-64-v4", "-mprefer-vector-width=512")
LEVELS = {
    "x86_64": (
        Level(
            "amx",
            _V4 | {"avx512_bf16", "amx_tile", "amx_bf16"},
            (*_WIDE, "-mavx512bf16", "-mamx-tile", "-mamx-bf16"),
            "x86_64_v4+avx512bf16+amx_tile+amx_bf16",
        ),
        Level("avx512bf16", _V4 | {"avx512_bf16"}, (*_WIDE, "-mavx512bf16"), "x86_64_v4+avx512bf16"),
        Level("avx512", _V4, _WIDE, "x86_64_v4"),
        Level("avx2", _V3, ("-march=x86-64-v3",), "x86_64_v3"),
        Level("baseline", frozenset(), (), "x86_64"),
    )
}
"""By machine, the best first; others have a baseline alone."""


def levels() -> Sequence[Level]:
    """The levels of this kind of machine, the best first."""
    return LEVELS.get(platform.machine(), (Level("baseline", frozenset(), (), "baseline"),))


def fingerprint() -> str:
    """15 hex digits of the sources and flags; a library that answers with others is not loaded."""
    digest = hashlib.sha256(repr([FLAGS, [level.flags for level in levels()]]).encode())
    for path in sorted(SOURCES.iterdir()):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()[:15]


def is_built() -> bool:
    """Whether the libraries of these very sources are there."""
    stamp = LIBRARIES / "stamp"
    return stamp.is_file() and stamp.read_text() == fingerprint()
