"""How the time and memory of a prefill grow with its length, to the model's whole window.

    python -m bench.growth [--model auto] [--dtype auto] [--threads 2] [--repeats 3] [--cpu-time] [--svg FILE]

One prompt is read from the first to the last position of the window, chunk by chunk as the engine does it;
the clock and the process's memory are read on the way. Medians over the repeats. The time is fitted by
a · n + b · n²: a is what every token costs by itself, b what it costs for each token before it (attention).
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

import torch

from model import describe
from model.attention import Segment
from model.executor import LocalExecutor
from model.hardware import resolve_dtype
from model.loading import load_executor
from model.options import EngineOptions
from model.weights.checkpoint import open_checkpoint
from model.weights.hub import resolve


@dataclass(frozen=True)
class Point:
    """A prefill as far as `tokens`.

    Attributes:
        seconds: since its first token.
        bytes: memory of the process above what it had with the model loaded and nothing read.
    """

    tokens: int
    seconds: float
    bytes: float


def measure(
    executor: LocalExecutor,
    ids: Sequence[int],
    marks: Sequence[int],
    chunk: int,
    clock: Callable[[], float] = time.perf_counter,
) -> list[Point]:
    """Read all of `ids`; a point at each mark (multiples of the chunk)."""
    points, base, begin = [], resident(), clock()
    for start in range(0, len(ids), chunk):
        end = min(start + chunk, len(ids))
        blocks = tuple(range(-(-end // executor.block_size)))
        executor.forward(ids[start:end], [Segment(start, end - start, blocks)])
        if end in marks:
            points.append(Point(end, clock() - begin, resident() - base))
    return points


def resident() -> int:
    """Memory of this process, in bytes."""
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    return pages * 4096


def medians(runs: Sequence[Sequence[Point]]) -> list[Point]:
    """The median time of each mark; the memory of the first run, which touches the pool."""
    return [
        Point(same[0].tokens, statistics.median(p.seconds for p in same), same[0].bytes)
        for same in zip(*runs, strict=True)
    ]


def fit(points: Sequence[Point]) -> tuple[float, float]:
    """Least squares a, b of seconds = a · n + b · n², relative to the seconds."""
    n = torch.tensor([p.tokens for p in points], dtype=torch.float64)
    seconds = torch.tensor([p.seconds for p in points], dtype=torch.float64)
    terms = torch.stack([n, n * n], 1) / seconds[:, None]
    a, b = torch.linalg.lstsq(terms, torch.ones(len(points), 1, dtype=torch.float64)).solution[:, 0].tolist()
    return a, b


def table(points: Sequence[Point], per_token: int) -> str:
    """As Markdown; `per_token` is the size of a token's keys and values in bytes."""
    a, b = fit(points)
    lines = ["| tokens | seconds | tokens a second | fit, seconds | memory, MiB | keys and values, MiB |",
             "|---|---|---|---|---|---|"]  # fmt: skip
    lines += [
        f"| {p.tokens:,} | {p.seconds:.2f} | {p.tokens / p.seconds:.0f} "
        f"| {a * p.tokens + b * p.tokens**2:.2f} | {p.bytes / 2**20:.0f} "
        f"| {p.tokens * per_token / 2**20:.0f} |"
        for p in points
    ]
    return "\n".join(lines)


def svg(points: Sequence[Point], title: str, unit: str = "seconds") -> str:
    """Two panels, time and memory over tokens, as an SVG that is readable on light and dark pages."""
    a, b = fit(points)
    title = escape(title, {'"': "&quot;"})
    last = points[-1].tokens
    curve = [(n, a * n + b * n * n) for n in range(0, last + 1, max(1, last // 64))]
    panels = [
        _panel(40, f"prefill, {unit}", [(p.tokens, p.seconds) for p in points], curve),
        _panel(410, "memory, MiB", [(p.tokens, p.bytes / 2**20) for p in points], None),
    ]
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 760 300" font-family="sans-serif" '
        f'font-size="12" role="img" aria-label="{title}">\n<rect width="760" height="300" fill="#fff"/>\n'
        f'<text x="40" y="22" font-size="14">{title}</text>\n' + "\n".join(panels) + "\n</svg>\n"
    )


def _panel(
    left: int, name: str, points: Sequence[tuple[float, float]], curve: Sequence[tuple[float, float]] | None
) -> str:
    width, top, height = 300, 60, 190
    most_x, most_y = points[-1][0], max(y for _, y in points) * 1.1 or 1.0

    def at(x: float, y: float) -> str:
        return f"{left + 10 + x / most_x * width:.1f},{top + height - y / most_y * height:.1f}"

    parts = [
        f'<text x="{left}" y="{top - 12}">{name}</text>',
        f'<path d="M{left + 10},{top} v{height} h{width}" fill="none" stroke="#888"/>',
        f'<polyline points="{" ".join(at(*p) for p in curve or points)}" fill="none" stroke="#2b6cb0"/>',
    ]
    for x, y in points:
        across, down = at(x, y).split(",")
        label = f"{y:.1f}" if y < 10 else f"{y:.0f}"
        parts.append(f'<circle cx="{across}" cy="{down}" r="3" fill="#2b6cb0"/>')
        parts.append(f'<text x="{across}" y="{float(down) - 8:.1f}" text-anchor="end">{label}</text>')
        parts.append(f'<text x="{across}" y="{top + height + 18}" text-anchor="middle">{x / 1024:g}k</text>')
    return "\n".join(parts)


def main() -> None:
    """Measure, print the table and write the plot."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="auto", help="as for the engine")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--attention", default="auto")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument(
        "--cpu-time", action="store_true", help="CPU seconds: with one thread, right on a busy machine too"
    )
    parser.add_argument("--svg", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    hardware = describe("cpu")
    dtype = resolve_dtype(hardware.dtype if arguments.dtype == "auto" else arguments.dtype)
    checkpoint = open_checkpoint(resolve(arguments.model))
    config = checkpoint.config
    window = config.context_length
    options = EngineOptions(kv_tokens=window, attention=arguments.attention)
    executor, _ = load_executor(checkpoint, torch.device("cpu"), dtype, options)
    chunk = options.chunk_on("cpu")
    ids = torch.randint(0, config.vocab_size, (window,), generator=torch.Generator().manual_seed(0)).tolist()
    marks = sorted({min(window, n) for n in (*_doublings(2048, window), 3 * window // 4, window)})
    clock = time.process_time if arguments.cpu_time else time.perf_counter
    unit = "CPU seconds" if arguments.cpu_time else "seconds"
    measure(executor, ids[:chunk], [], chunk)  # libraries make their plans in the first pass
    points = medians([measure(executor, ids, marks, chunk, clock) for _ in range(arguments.repeats)])
    kernels = executor.kind.replace("torch.", "")
    title = f"{checkpoint.name}: {kernels}, threads: {arguments.threads}, {hardware.device_name}"
    a, b = fit(points)
    print(
        f"{title}\n\n{table(points, 2 * config.layers * config.kv_heads * config.head_dim * dtype.itemsize)}"
    )
    print(
        f"\nseconds = {a:.3e} · n + {b:.3e} · n²: attention is {b * window / (a + b * window):.0%} "
        f"at {window:,}"
    )
    if arguments.svg is not None:
        arguments.svg.write_text(svg(points, title, unit), "utf-8")


def _doublings(first: int, last: int) -> list[int]:
    return [first << i for i in range(32) if first << i <= last]


if __name__ == "__main__":
    main()
