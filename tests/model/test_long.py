"""Long contexts: the logits of transformers, in memory that the chunk bounds and the context does not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent


def measured(name: str, *numbers: int) -> dict[str, Any]:
    """What a function of long_prefill.py gives, run in a process of its own."""
    environment = {
        **os.environ,
        "PYTHONPATH": f"{HERE.parent.parent}{os.pathsep}{HERE}",
        # Every tensor of some size has its own mapping and goes back to the system when it is freed.
        "MALLOC_MMAP_THRESHOLD_": "65536",
        "MALLOC_TRIM_THRESHOLD_": "65536",
    }
    run = subprocess.run(
        [sys.executable, HERE / "long_prefill.py", name, *map(str, numbers)],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    result: dict[str, Any] = json.loads(run.stdout)
    return result


pytestmark = pytest.mark.slow
WHOLE = pytest.mark.skipif(not os.environ.get("LONGLEAF_LONG"), reason="minutes; `make long` runs it")


@pytest.mark.parametrize(
    ("window", "layers"),
    [(10_240, 2), pytest.param(131_072, 1, marks=WHOLE), pytest.param(131_072, 2, marks=WHOLE)],
)
def test_prefill_of_a_window_beside_transformers(window: int, layers: int) -> None:
    result = measured("parity", window, layers, 256)
    print(result)
    assert result["error"] < 1e-4


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize("chunk", [256, 1024])
def test_memory_of_a_pass_does_not_grow_with_the_context(chunk: int) -> None:
    peaks = measured("memory", chunk)
    print(peaks)
    # A gather of a stretch of keys and values, and some copies of the chunk's widest rows.
    gathers = 2 * 8192 * 2 * 64 * 4
    rows = chunk * (2 * 1536 + 2 * 512) * 4
    assert peaks["16384"] < 2 * gathers + 3 * rows
    # what grows is the allocator's rest of a page or two; one copy of the keys alone would be 32 MiB more
    assert peaks["131072"] < peaks["16384"] + 2**20
