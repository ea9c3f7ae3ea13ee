"""Finds the best compiled library for this processor and declares its functions."""

from __future__ import annotations

import ctypes
import logging
import os
from functools import cache
from pathlib import Path

from model.hardware import cpu_flags
from model.native.levels import LIBRARIES, Level, fingerprint, levels

_POINTER, _LONG, _INT = ctypes.c_void_p, ctypes.c_int64, ctypes.c_int
_SIGNATURES: dict[str, tuple[type, ...]] = {
    "longleaf_linear": (_POINTER, _POINTER, _INT, _LONG, _POINTER, _POINTER, _INT, _INT),
    "longleaf_unpack": (_POINTER, _POINTER, _INT, _INT),
    "longleaf_take": (_POINTER, _POINTER, _LONG, _POINTER, _INT, _INT),
    "longleaf_norm": (_POINTER, _POINTER, _POINTER, ctypes.c_float, _LONG, _LONG, _INT, _POINTER, _INT),
    "longleaf_gate": (_POINTER, _LONG, _LONG, _INT, _POINTER, _INT),
    "longleaf_rotate": (*[_POINTER] * 3, *[_LONG] * 4, _INT, *[_POINTER] * 3, _INT),
    "longleaf_attend": (_POINTER, _INT),
    "longleaf_logits": (*[_POINTER] * 4, _INT),
    "longleaf_lists": (_POINTER,),
    "longleaf_halves": (_POINTER, _POINTER, _LONG, _LONG, _POINTER, _POINTER),
}


@cache
def library() -> ctypes.CDLL | None:
    """The loaded library, None where there is none that fits.

    `LONGLEAF_NATIVE` names a level to be taken instead of the best ("avx2"), or "off".
    """
    wished = os.environ.get("LONGLEAF_NATIVE", "")
    for candidate in levels():
        if wished in ("", candidate.name) and candidate.needs <= cpu_flags():
            found = _open(candidate)
            if found is not None:
                return found
    return None


def call() -> ctypes.CDLL:
    """The library whose functions these are.

    Raises:
        RuntimeError: there is none.
    """
    found = library()
    if found is None:
        raise RuntimeError("there is no native library: run python -m model.native.build")
    return found


def available() -> bool:
    """Whether there is a library for this processor."""
    return library() is not None


def level() -> str:
    """Name of the instruction-set level in use, "" without a library."""
    found = library()
    return Path(found._name).stem.removeprefix("longleaf-") if found is not None else ""


def _open(level: Level) -> ctypes.CDLL | None:
    path = LIBRARIES / f"longleaf-{level.name}.so"
    if not path.is_file():
        return None
    try:
        found = ctypes.CDLL(str(path))
        found.longleaf_version.restype = ctypes.c_uint64
        if found.longleaf_version() != int(fingerprint(), 16):
            logging.getLogger(__name__).warning(
                "%s was built from other sources and is not used; run python -m model.native.build", path
            )
            return None
        if not found.longleaf_ready():
            return None  # the operating system keeps these instructions from us
        for name, arguments in _SIGNATURES.items():
            function = getattr(found, name)
            function.argtypes, function.restype = arguments, None
        found.longleaf_takes_many.argtypes = (_POINTER, _INT)
    except (OSError, AttributeError) as error:
        logging.getLogger(__name__).warning("%s cannot be used: %s", path, error)
        return None
    return found
