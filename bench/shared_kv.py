"""A second engine's first token over a prompt that another engine has read: by the shared place, and anew.

    python -m bench.shared_kv [--tokens 4096] [--runs 3]

CPU seconds of this process over reading the prompt, medians; the place is a folder of the local disk.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

from model import Engine, EngineOptions, SamplingParams
from rag.objects.blocks import SharedBlocks
from rag.objects.place import objects_of
from rag.settings import Settings


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, default=4096)
    parser.add_argument("--runs", type=int, default=3)
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(_env_file=None, objects=f"file://{folder}")
        first = load(settings)
        words = " ".join(f"On day {day} the keeper wrote down tide {day * 7}." for day in range(2000))
        prompt = first.tokenizer.encode(words)[: wanted.tokens]
        anew = [cost(first, prompt, f"run {run}") for run in range(wanted.runs)]
        first.flush(600)
        sent = sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())
        second = load(settings)
        shared = [cost(second, prompt, f"run {run}") for run in range(wanted.runs)]
        reused = second.stats().cached_tokens
        first.close()
        second.close()
    cpu = [statistics.median(found[0] for found in each) for each in (anew, shared)]
    wall = [statistics.median(found[1] for found in each) for each in (anew, shared)]
    megabytes = sent / wanted.runs / 1e6
    print(f"{len(prompt):,} tokens, {megabytes:.0f} MB each; {reused // wanted.runs:,} not read again")
    print("| first token | CPU s | wall s |")
    print("|---|---|---|")
    for name, a, b in zip(("read anew", "from the shared place"), cpu, wall, strict=True):
        print(f"| {name} | {a:.2f} | {b:.2f} |")
    print(f"ratio {cpu[0] / cpu[1]:.1f} in CPU seconds, {wall[0] / wall[1]:.1f} in wall seconds")


def load(settings: Settings) -> Engine:
    """An engine that shares by the place of the settings."""
    options = EngineOptions(kv_place=SharedBlocks(objects_of(settings), "bench"))
    return Engine.load("auto", options=options)


def cost(engine: Engine, prompt: list[int], salt: str) -> tuple[float, float]:
    """CPU and wall seconds to the first token; a salt of its own lets nothing in the pool be of use."""
    cpu, wall = time.process_time(), time.perf_counter()
    for _ in engine.generate(prompt, SamplingParams(max_tokens=1), salt=salt):
        pass
    return time.process_time() - cpu, time.perf_counter() - wall


if __name__ == "__main__":
    main()
