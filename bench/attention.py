"""Attention of one chunk over a long past on this CPU: what we have beside blocks of torch's matrix products.

    python -m bench.attention [--past 8192] [--rows 256] [--repeats 3]

CPU time of one thread, so that a busy machine does not matter: GFLOP/s by the best of the repeats, and the
error beside float64, relative to the output's norm. "gemm" is online softmax over products of blocks. torch's
product of bfloat16 rounds its result, and so every score, to 8 bits; "gemm, exact" takes a second product for
what the first one lost (beta = -1), which brings the scores to 16 bits.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch
from torch import Tensor

from model import HardwareError
from model.attention import Attend, Segment, select_attention
from model.attention.reference import ReferenceAttend
from model.kv.pool import KVPool

SHAPES = {"SmolLM2-135M": (9, 3, 64), "Llama 3.1 8B": (32, 8, 128)}
"""Query heads, key heads, head_dim."""
KEYS = 1024
"""Keys in a block of products: of 256 to 4,096 the fastest here, with a few per cent between them."""


def gemm(queries: Tensor, keys: Tensor, values: Tensor, *, exact: bool) -> Tensor:
    """Full attention [n, heads, d] over [m, kv_heads, d] by products of blocks, one key head at a time."""
    n, heads, head_dim = queries.shape
    kv_heads = keys.shape[1]
    folded = (queries * head_dim**-0.5).transpose(0, 1).reshape(kv_heads, -1, head_dim)
    out = torch.zeros(folded.shape)
    lse = torch.full((*folded.shape[:2], 1), -torch.inf)
    for head in range(kv_heads):
        for begin in range(0, len(keys), KEYS):
            block = slice(begin, begin + KEYS)
            transposed = keys[block, head].t()
            scores = folded[head] @ transposed
            if exact:
                lost = torch.addmm(scores, folded[head], transposed, beta=-1)
                scores = scores.float().add_(lost)
            weights = scores.softmax(-1, dtype=torch.float32)
            part = scores.amax(1, keepdim=True).float() - weights.amax(1, keepdim=True).log()
            mixed = weights.to(values.dtype) @ values[block, head]
            out[head].lerp_(mixed.float(), torch.sigmoid(part - lse[head]))
            lse[head] = torch.logaddexp(lse[head], part)
    return out.view(heads, n, head_dim).transpose(0, 1).to(queries.dtype)


def seconds(run: Callable[[], object], repeats: int) -> float:
    """CPU time of the best run."""
    best = float("inf")
    for _ in range(repeats):
        begin = time.process_time()
        run()
        best = min(best, time.process_time() - begin)
    return best


def paged(attend: Attend, queries: Tensor, pool: KVPool, segment: Segment) -> Callable[[], Tensor]:
    """A backend of ours, as the model calls it."""
    plan = attend.plan([segment], pool)
    return lambda: attend(queries, pool.keys(0), pool.values(0), plan)


@torch.inference_mode()
def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--past", type=int, default=8192)
    parser.add_argument("--rows", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    past, rows, device = arguments.past, arguments.rows, torch.device("cpu")
    print("| shape | dtype | kernel | GFLOP/s | error |\n|---|---|---|---|---|")
    for name, (heads, kv_heads, head_dim) in SHAPES.items():
        for dtype in (torch.bfloat16, torch.float32):
            torch.manual_seed(0)
            blocks = -(-(past + rows) // 256)
            pool = KVPool(1, blocks, 256, kv_heads, head_dim, device, dtype)
            pool.keys(0).copy_(torch.randn(pool.keys(0).shape))
            pool.values(0).copy_(torch.randn(pool.values(0).shape))
            queries = 2 * torch.randn(rows, heads, head_dim)
            segment = Segment(past, rows, tuple(range(blocks)))
            own = queries.to(dtype)
            exact = paged(ReferenceAttend(torch.float64), own.double(), pool, segment)()
            keys, values = (x(0).flatten(0, 1)[:past] for x in (pool.keys, pool.values))
            runs: dict[str, Callable[[], Tensor]] = {}
            for backend in ("native", "sdpa"):
                try:
                    runs[backend] = paged(select_attention(device, dtype, backend), own, pool, segment)
                except HardwareError as why:
                    print(f"| {name} | {dtype} | {backend}: {why} | | |")
            flops = dict.fromkeys(runs, 4 * rows * (past + rows / 2) * heads * head_dim)
            errors = {
                backend: float((run().double() - exact).norm() / exact.norm())
                for backend, run in runs.items()
            }
            full = ReferenceAttend(torch.float64)
            seen = [
                paged(full, own[i : i + 1].double(), pool, Segment(past - 1, 1, segment.blocks))()
                for i in range(rows)
            ]
            whole = torch.cat(seen)
            for label, precise in (("gemm", False), ("gemm, exact", True)):
                if precise and dtype == torch.float32:
                    continue
                runs[label] = lambda p=precise, o=own, k=keys, v=values: gemm(o, k, v, exact=p)  # type: ignore[misc]
                flops[label] = 4 * rows * past * heads * head_dim
                errors[label] = float((runs[label]().double() - whole).norm() / whole.norm())
            for label, run in runs.items():
                speed = flops[label] / seconds(run, arguments.repeats) / 1e9
                short = str(dtype).removeprefix("torch.")
                print(f"| {name} | {short} | {label} | {speed:.0f} | {errors[label]:.1e} |", flush=True)


if __name__ == "__main__":
    main()
