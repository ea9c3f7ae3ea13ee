"""How far a model in 8 bits is from the one it was made from, on a passage of text.

    python -m bench.quantized TEXT [--model auto] [--tokens 1024]

Prints per format: size, KL divergence of the next-token distributions in nats, how often the likeliest token
is the same, perplexity, and the seconds that conversion and reading take.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import get_args

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, kl_div

from model import Engine
from model.quant.convert import Format, quantize
from model.weights.hub import resolve


def main() -> None:
    """Convert, read the passage with both, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("text", type=Path)
    parser.add_argument("--model", default="auto")
    parser.add_argument("--tokens", type=int, default=1024)
    given = parser.parse_args()
    source = resolve(given.model)
    engine = Engine.load(source, device="cpu", dtype="float32")
    ids = engine.tokenizer.encode(given.text.read_text("utf-8"))[: given.tokens]
    exact, seconds = _read(engine, ids)
    print(f"{source.name}, {len(ids)} tokens of {given.text.name}")
    print("| format | weights | KL | same first token | perplexity | converted in | read in |")
    print("|---|---|---|---|---|---|---|")
    print(f"| float32 | | 0 | 100 % | {_perplexity(exact, ids):.3f} | | {seconds:.1f} s |")
    dense = Engine.load(source, device="cpu", dtype="bfloat16")
    _row("bfloat16", "", "", _read(dense, ids), exact, ids)
    for kind in get_args(Format):
        with tempfile.TemporaryDirectory() as folder:
            begin = time.perf_counter()
            done = quantize(source, Path(folder) / kind, kind)
            took = f"{time.perf_counter() - begin:.1f} s"
            converted = Engine.load(done.target, device="cpu", dtype="float32")
            size = f"{done.weight_bytes / 1e6:.1f} MB"
            _row(kind, size, took, _read(converted, ids), exact, ids)


def _row(name: str, size: str, took: str, read: tuple[Tensor, float], exact: Tensor, ids: list[int]) -> None:  # noqa: PLR0917
    logits, seconds = read
    agree = (logits.argmax(-1) == exact.argmax(-1)).float().mean()
    kl = kl_div(logits.log_softmax(-1), exact.log_softmax(-1), reduction="batchmean", log_target=True)
    perplexity = _perplexity(logits, ids)
    print(f"| {name} | {size} | {kl:.5f} | {agree:.1%} | {perplexity:.3f} | {took} | {seconds:.1f} s |")


def _read(engine: Engine, ids: list[int]) -> tuple[Tensor, float]:
    begin = time.perf_counter()
    return engine.logits(ids), time.perf_counter() - begin


def _perplexity(logits: Tensor, ids: list[int]) -> float:
    loss = cross_entropy(logits[:-1], torch.tensor(ids[1:]))
    return float(loss.exp())


if __name__ == "__main__":
    main()
