"""How many arenas of the C library the threads of a server share."""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
_PROGRAM = """
import ctypes, threading
from api.threads import share_memory
{call}
together = threading.Barrier(8)
def work():
    kept = [bytearray(5000) for _ in range(100)]
    together.wait(60)  # until all have taken memory: a thread that has ended leaves its arena to the next
threads = [threading.Thread(target=work) for _ in range(8)]
for each in threads: each.start()
for each in threads: each.join()
libc = ctypes.CDLL(None)
libc.fdopen.restype = ctypes.c_void_p
out = ctypes.c_void_p(libc.fdopen(1, b"w"))
libc.malloc_info(0, out)
libc.fflush(out)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc alone has arenas")
def test_threads_take_memory_from_two_places_only() -> None:
    def arenas(call: str) -> int:
        program = _PROGRAM.format(call=call)
        done = subprocess.run(
            [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True, timeout=120
        )
        return done.stdout.count("<heap nr=")

    assert arenas("") > 2
    assert arenas("share_memory()") <= 2
