"""The engine's CPU kernels beside torch's: `python -m bench.kernels`.

Every figure is the best of some runs in turns; on one thread it is the thread's own time, which other
programs disturb least. Weights are those of a small Llama of 30 layers, so that a pass over them reads more
than the caches hold. Bytes are those of the weights as stored, arithmetic that of the dense model.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from model.attention.batch import Segment
from model.attention.native import NativeAttend
from model.kv.pool import KVPool
from model.native import available, kernels, level
from model.native.matrix import Arena, Matrix, dense, floats, pack, quantise
from model.weights.codes import codes

SHAPES = ((960, 576), (576, 576), (3072, 576), (576, 1536))
"""[outputs, inputs] of qkv, out, gate and up, down of SmolLM2-135M."""
LAYERS = 30


def best(runs: list[Callable[[], object]], repeats: int) -> list[float]:
    """Shortest seconds of each, taken in turns after one warm-up."""
    clock = time.thread_time if torch.get_num_threads() == 1 else time.perf_counter
    times = [float("inf")] * len(runs)
    for repeat in range(repeats + 1):
        for index, run in enumerate(runs):
            begin = clock()
            run()
            spent = clock() - begin
            if repeat:
                times[index] = min(times[index], spent)
    return times


def products(dtype: torch.dtype, rows: list[int], repeats: int) -> None:
    """All products of a model's layers, packed to 4 and to 8 bits, dense, and torch's."""
    arena = Arena()
    q4, q8, own, theirs = [], [], [], []
    for outputs, inputs in SHAPES * LAYERS:
        raw = torch.randint(0, 256, (outputs, inputs // 32, 20), dtype=torch.uint8)
        raw[:, :, [1, 3]] = 0x20  # scales and minima near 0.01
        four = codes("Q4_1", raw.view(outputs, -1))
        weight = floats(four).to(dtype)
        q4.append(pack(four, arena))
        q8.append(pack(quantise(weight), arena))
        own.append(dense(weight))
        theirs.append(weight)
    for n in rows:
        x = {inputs: torch.randn(n, inputs).to(dtype) for _, inputs in SHAPES}

        def ours(matrices: list[Matrix], x: dict[int, Tensor] = x) -> Callable[[], object]:
            return lambda: [kernels.linear(x[matrix.cols], matrix) for matrix in matrices]

        def torchs(x: dict[int, Tensor] = x) -> object:
            return [F.linear(x[weight.shape[1]], weight) for weight in theirs]

        times = best([ours(q4), ours(q8), ours(own), torchs], repeats)
        sizes = [sum(each.nbytes for each in q4), sum(each.nbytes for each in q8)]
        sizes += 2 * [sum(weight.nbytes for weight in theirs)]
        work = 2 * n * sum(weight.numel() for weight in theirs)
        for name, spent, size in zip(("4-bit", "8-bit", "dense", "torch"), times, sizes, strict=True):
            figures = (
                f"{spent * 1e3:7.2f} ms | {size / spent / 1e9:5.1f} GB/s | {work / spent / 1e9:4.0f} GFLOP/s"
            )
            print(f"| products, {n} rows, {name} | {str(dtype)[6:]} | {figures} |", flush=True)


def attention(dtype: torch.dtype, cases: list[tuple[int, int]], repeats: int) -> None:
    """Attention of some new tokens after some old ones; torch's over keys that already lie side by side."""
    for heads, kv_heads, dim in ((9, 3, 64), (32, 8, 128)):
        for past, count in cases:
            total, size = past + count, 256
            pool = KVPool(1, -(-total // size), size, kv_heads, dim, torch.device("cpu"), dtype)
            keys, values = pool.keys(0).normal_(), pool.values(0).normal_()
            queries = torch.randn(count, heads, dim).to(dtype)
            attend = NativeAttend()
            plan = attend.plan([Segment(past, count, tuple(range(pool.blocks)))], pool)
            k, v = (x.flatten(0, 1)[:total].transpose(0, 1)[None] for x in (keys, values))
            q, causal = queries.transpose(0, 1)[None], past == 0 and count > 1

            # All keys to all queries where there is a past: the part without a mask, which is most of it.
            theirs = partial(F.scaled_dot_product_attention, q, k, v, is_causal=causal, enable_gqa=True)
            ours = partial(attend, queries, keys, values, plan)
            times = best([ours, theirs], repeats)
            for name, spent, pairs in zip(
                ("ours", "torch"),
                times,
                (count * past + count * (count + 1) / 2, count * total / (2 if causal else 1)),
                strict=True,
            ):
                rate = 4 * heads * dim * pairs / spent / 1e9
                what = f"attention {heads}/{kv_heads}x{dim}, {count} after {past}, {name}"
                print(
                    f"| {what} | {str(dtype)[6:]} | {spent * 1e3:7.3f} ms | | {rate:4.0f} GFLOP/s |",
                    flush=True,
                )


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rows", default="1,2,4,8,32")
    options = parser.parse_args()
    if not available():
        parser.exit(1, "the kernels are not built: python -m model.native.build\n")
    torch.set_num_threads(options.threads)
    print(f"level {level()}, {options.threads} threads, torch {torch.__version__}\n")
    print("| what | dtype | time | packed bytes | arithmetic |\n|---|---|---|---|---|")
    with torch.inference_mode():
        for dtype in (torch.bfloat16, torch.float32):
            products(dtype, [int(n) for n in options.rows.split(",")], options.repeats)
            attention(dtype, [(0, 256), (1792, 256), (7936, 256), (2047, 1), (2040, 8)], options.repeats)


if __name__ == "__main__":
    main()
