"""The GPU table: does attention compute the formula there, and how fast is Llama 3.1 8B to 128k.

    python -m bench.gpu [--preset llama-3.1-8b] [--context 131072] [--attention auto] [--only contract|speed]

Needs torch, tokenizers and safetensors, and flash-attn where that is to be measured; no model files: the
weights are random, of the true shapes. The time of a pass does not depend on their values. Ends with code 3
where there is no GPU, with 1 where a backend does not compute the formula.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

import tokenizers
import torch

from model import Engine, EngineOptions, Finished, HardwareError, SamplingParams, TokenEvent
from model.attention import Attend, Segment, select_attention
from model.attention.reference import ReferenceAttend
from model.attention.select import BACKENDS
from model.executor import LocalExecutor
from model.kv.pool import KVPool
from model.llama.config import LlamaConfig
from model.llama.presets import PRESETS
from model.llama.rope import Rope
from model.llama.transformer import Transformer
from model.loaded import LoadedModel
from model.text.tokenizer import Tokenizer

NO_GPU = 3
GOALS = {"prefill": 14.0, "decode": 0.012, "hit": 0.5}
"""Seconds, for the 8B model in bfloat16 with 131,072 positions on one GPU of 80 GB or more."""

CASES: dict[str, list[tuple[int, int]]] = {
    "first chunk": [(0, 333)],
    "decode": [(5000, 1)],
    "decodes together": [(3, 1), (256, 1), (9000, 1)],
    "drafts together": [(40, 4), (2900, 4)],
    "chunk after a past": [(4096, 512)],
    "everything at once": [(0, 130), (511, 1), (255, 2), (700, 77)],
}
"""(start, count) of the segments of one pass."""


@dataclass(frozen=True)
class Agreement:
    """How far a backend is from the formula in float64.

    Attributes:
        output: largest distance of a head's output of one query, relative to its length.
        lse: largest difference of the log-sum-exps, which are near 10.
    """

    backend: str
    case: str
    output: float
    lse: float

    def holds(self, dtype: torch.dtype) -> bool:
        """Whether that is rounding."""
        return self.output < max(1e-4, 3 * torch.finfo(dtype).eps) and self.lse < 5e-3


def contract(
    attend: Attend, device: torch.device, dtype: torch.dtype, *, heads: int, kv_heads: int, head_dim: int
) -> list[Agreement]:
    """Run every case through a backend, over scattered blocks with garbage behind the sequences' ends."""
    results = []
    for case, shapes in CASES.items():
        generator = torch.Generator().manual_seed(0)
        needed = [-(-(start + count) // 256) for start, count in shapes]
        order = iter(torch.randperm(sum(needed), generator=generator).tolist())
        segments = [
            Segment(start, count, tuple(next(order) for _ in range(blocks)))
            for (start, count), blocks in zip(shapes, needed, strict=True)
        ]
        pool = KVPool(1, sum(needed), 256, kv_heads, head_dim, device, dtype)
        for own in (pool.keys(0), pool.values(0)):
            own.copy_(torch.randn(own.shape, generator=generator))
            for segment in segments:
                own[segment.blocks[-1], (segment.start + segment.count - 1) % 256 + 1 :] = torch.nan
        rows = sum(count for _, count in shapes)
        queries = torch.randn(rows, heads, head_dim, generator=generator).to(device, dtype)
        with torch.inference_mode():
            out, lse = attend.with_lse(queries, pool.keys(0), pool.values(0), attend.plan(segments, pool))
            exact, exact_lse = ReferenceAttend(torch.float64).with_lse(
                queries.double(), pool.keys(0), pool.values(0), segments
            )
        apart = (out.double() - exact).norm(dim=-1) / exact.norm(dim=-1)
        worst = float(apart.max()), float((lse - exact_lse).abs().max())
        # A comparison with what is not a number must not pass.
        worst = tuple(torch.tensor(worst).nan_to_num(nan=torch.inf).tolist())
        results.append(Agreement(str(getattr(attend, "name", attend)), case, *worst))
    return results


@dataclass(frozen=True)
class Speed:
    """Seconds and bytes of one prompt that is asked twice.

    Attributes:
        prefill: from the cold prompt to its first token.
        decode: between two tokens after it.
        hit: from the same prompt, asked again, to its first token.
        cached_tokens: how many of the second prompt's tokens were not read again.
        peak_bytes: most memory of the GPU; 0 without one.
    """

    prefill: float
    decode: float
    hit: float
    cached_tokens: int
    peak_bytes: int


def random_engine(
    config: LlamaConfig, device: torch.device, dtype: torch.dtype, *, attention: str, kv_tokens: int
) -> Engine:
    """An engine of that shape whose weights are random, so that nothing has to be downloaded."""
    options = EngineOptions(kv_tokens=kv_tokens, attention=attention)
    with torch.device("meta"):
        model = Transformer(config)
    model = model.to(dtype).to_empty(device=device).requires_grad_(False).eval()
    with torch.inference_mode():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(0, 0.02)
            else:
                parameter.fill_(1)
    pool = KVPool(
        config.layers, kv_tokens // options.block_size, options.block_size, config.kv_heads, config.head_dim,
        device, dtype,
    )  # fmt: skip
    attend = select_attention(
        device, dtype, attention, head_dim=config.head_dim, block_size=options.block_size
    )
    letters = Tokenizer(
        config.vocab_size, {}, None, frozenset(), tokenizers.Tokenizer(tokenizers.models.BPE()),
        [b"."] * config.vocab_size, frozenset(),
    )  # fmt: skip
    loaded = LoadedModel(
        LocalExecutor(model, Rope.of(config, device), attend, pool), config, letters,
        chat_format=None, name="random", fingerprint="0" * 64,
        parameter_count=sum(parameter.numel() for parameter in model.parameters()),
    )  # fmt: skip
    return Engine(loaded, options)


def speed(engine: Engine, context: int, *, new: int = 64, repeats: int = 3) -> Speed:
    """Medians over prompts that share nothing, each asked twice; a first one warms the kernels up."""
    generator = torch.Generator().manual_seed(1)
    measured = []
    for _ in range(repeats + 1):
        prompt = torch.randint(0, engine.config.vocab_size, (context - new,), generator=generator).tolist()
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
        prefill, decode, cached = _ask(engine, prompt, new)
        if cached:
            raise HardwareError(f"{cached} tokens of a new prompt were cached: the figures would be wrong")
        hit, _, cached = _ask(engine, prompt, 2)
        peak = torch.cuda.max_memory_allocated() if torch.cuda.is_available() else 0
        measured.append((prefill, decode, hit, cached, peak))
    prefills, decodes, hits, caught, peaks = zip(*measured[1:], strict=True)
    return Speed(
        prefill=statistics.median(prefills),
        decode=statistics.median(decodes),
        hit=statistics.median(hits),
        cached_tokens=min(caught),
        peak_bytes=max(peaks),
    )


def _ask(engine: Engine, prompt: Sequence[int], new: int) -> tuple[float, float, int]:
    """Seconds to the first token, seconds a token after it, prompt tokens that were cached."""
    begin, first, cached = time.perf_counter(), 0.0, 0
    for event in engine.generate(prompt, SamplingParams(max_tokens=new, ignore_eos=True)):
        match event:
            case TokenEvent(index=0):
                first = time.perf_counter()
            case Finished(cached_tokens=cached):
                pass
    return first - begin, (time.perf_counter() - first) / (new - 1), cached


def row(name: str, seconds: float, goal: float, unit: float = 1.0, mark: str = "s") -> str:
    """One line of the table."""
    met = "met" if seconds <= goal else "missed"
    return f"| {name} | {seconds * unit:.2f} {mark} | ≤ {goal * unit:g} {mark} | {met} |"


def run(arguments: argparse.Namespace, device: torch.device) -> int:
    """Everything that was asked for, on a device; the exit code."""
    config, dtype = PRESETS[arguments.preset], torch.bfloat16
    shape = {"heads": config.heads, "kv_heads": config.kv_heads, "head_dim": config.head_dim}
    wrong = 0
    if arguments.only != "speed":
        print("| backend | case | output off by | log-sum-exp off by | |\n|---|---|---|---|---|")
        for name in BACKENDS:
            try:
                attend = select_attention(device, dtype, name, head_dim=config.head_dim)
            except HardwareError as why:
                print(f"| {name} | not run: {why} | | | |")
                continue
            for each in contract(attend, device, dtype, **shape):
                wrong += not each.holds(dtype)
                verdict = "holds" if each.holds(dtype) else "WRONG"
                print(f"| {each.backend} | {each.case} | {each.output:.1e} | {each.lse:.1e} | {verdict} |")
    if arguments.only != "contract":
        context = arguments.context
        with random_engine(
            config, device, dtype, attention=arguments.attention, kv_tokens=context + 4096
        ) as engine:
            result = speed(engine, context, repeats=arguments.repeats)
        memory, cached = f"{result.peak_bytes / 2**30:.1f} GiB", result.cached_tokens
        print(f"\n{arguments.preset}, bfloat16, random weights, {context} positions, peak {memory},")
        print(f"{cached} tokens of the second prompt cached\n")
        print("| figure | measured | goal | |\n|---|---|---|---|")
        print(row("prompt to first token, cold", result.prefill, GOALS["prefill"]))
        print(row("decode, a token", result.decode, GOALS["decode"], 1e3, "ms"))
        print(row("prompt to first token, cached", result.hit, GOALS["hit"]))
    return 1 if wrong else 0


def parse(words: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--preset", default="llama-3.1-8b", choices=sorted(PRESETS))
    parser.add_argument("--context", type=int, default=131_072, help="prompt and new tokens together")
    parser.add_argument("--attention", default="auto", choices=["auto", *BACKENDS])
    parser.add_argument("--only", choices=["contract", "speed"])
    parser.add_argument("--repeats", type=int, default=3)
    return parser.parse_args(words)


def main() -> int:
    """Print the tables, or that there is no GPU."""
    arguments = parse()
    if not torch.cuda.is_available():
        print(
            f"no GPU: torch {torch.__version__} sees no CUDA device on this machine ({platform.machine()}); "
            "nothing was measured",
            file=sys.stderr,
        )
        return NO_GPU
    device = torch.device("cuda")
    properties = torch.cuda.get_device_properties(device)
    print(f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB, torch {torch.__version__}\n")
    return run(arguments, device)


if __name__ == "__main__":
    sys.exit(main())
