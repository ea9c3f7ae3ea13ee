"""Programs for test_long.py: they measure the memory of a process of their own and print it as JSON."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from checkpoints import tiny_model, write_folder
from torch import Tensor

from model.attention import Segment
from model.executor import LocalExecutor
from model.loading import load_executor
from model.options import EngineOptions
from model.weights.checkpoint import open_checkpoint

CPU = torch.device("cpu")


def status(field: str) -> int:
    """A memory figure of this process in bytes, from the kernel."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    raise KeyError(field)


class Peak:
    """The most memory that this process had while the block ran, above what it had before."""

    def __enter__(self) -> Peak:
        Path("/proc/self/clear_refs").write_text("5")  # VmHWM starts anew
        self._before = status("VmRSS")
        return self

    def __exit__(self, *_: object) -> None:
        self.bytes = status("VmHWM") - self._before


def executor(model: Any, window: int, dtype: torch.dtype) -> LocalExecutor:
    """Our executor of a transformers model, with all memory that grows with the context touched already."""
    with TemporaryDirectory() as folder:
        checkpoint = open_checkpoint(write_folder(Path(folder), model))
        made, _ = load_executor(checkpoint, CPU, dtype, EngineOptions(kv_tokens=window))
    made._pool._storage.zero_()
    made._rope.reserve(window)
    return made


def prefill(made: LocalExecutor, ids: list[int], begin: int, end: int, chunk: int) -> list[Tensor]:
    """Hidden states of positions begin … end - 1, chunk by chunk."""
    order = torch.randperm(made.blocks, generator=torch.Generator().manual_seed(0)).tolist()
    hidden = []
    for start in range(begin, end, chunk):
        stop = min(start + chunk, end)
        blocks = tuple(order[: -(-stop // made.block_size)])
        hidden.append(made.forward(ids[start:stop], [Segment(start, stop - start, blocks)]))
    return hidden


def parity(window: int, layers: int, chunk: int) -> dict[str, float]:
    """Prefill of a whole window beside transformers, which reads it in one piece."""
    peer = tiny_model(
        num_hidden_layers=layers, hidden_size=32, num_attention_heads=2, num_key_value_heads=1, head_dim=16,
        intermediate_size=64, vocab_size=256, max_position_embeddings=window,
    )  # fmt: skip
    ids = torch.randint(0, 256, (window,), generator=torch.Generator().manual_seed(1))
    picked = torch.cat([torch.arange(0, window - 512, 997), torch.arange(window - 512, window)])
    made = executor(peer, window, torch.float32)
    begin = time.perf_counter()
    with Peak() as peak:
        hidden = torch.cat(prefill(made, ids.tolist(), 0, window, chunk))
    ours = made.head(hidden[picked])
    seconds = time.perf_counter() - begin
    with torch.inference_mode():
        theirs = peer(ids[None], use_cache=False, logits_to_keep=picked).logits[0]
    largest = float(theirs.abs().max())
    error = (ours - theirs).abs().amax(1) / largest
    return {
        "error": float(error.max()),
        "error_of_last": float(error[-512:].max()),
        "seconds": seconds,
        "seconds_of_peer": time.perf_counter() - begin - seconds,
        "peak_bytes": peak.bytes,
        "returned_bytes": hidden.numel() * hidden.element_size(),
    }


def memory(chunk: int) -> dict[str, int]:
    """Peak of one chunk's pass at growing distances from the start, for a model of middling width."""
    window = 131_072
    peer = tiny_model(
        hidden_size=512, num_attention_heads=8, num_key_value_heads=2, head_dim=64, intermediate_size=1536,
        max_position_embeddings=window,
    )  # fmt: skip
    made = executor(peer, window, torch.float32)
    ids = torch.randint(0, 512, (window,)).tolist()
    prefill(made, ids, window - chunk, window, chunk)  # libraries allocate for good in their first call
    peaks = {}
    for end in (16_384, 32_768, 65_536, window):
        with Peak() as peak:
            prefill(made, ids, end - chunk, end, chunk)
        peaks[str(end)] = peak.bytes
    return peaks


if __name__ == "__main__":
    torch.set_num_threads(2)
    name, *numbers = sys.argv[1:]
    print(json.dumps({"parity": parity, "memory": memory}[name](*map(int, numbers))))
