"""Prefill and decode tokens per second of the engine beside transformers and llama.cpp, in one run.

    python bench/engine.py [--model auto] [--prompts 512,2048] [--new 64] [--repeats 3] [--threads 2]

All three read the same random token ids of the same GGUF file and write greedily, one request at a time,
in a process that does nothing else. transformers runs in the dtype that is fastest for it here, with SDPA;
llama.cpp on the file's own quantisation, with flash attention. Medians over the repeats, which go round the
contestants in turn so that a slow minute hits all of them.
"""

from __future__ import annotations

import argparse
import os
import platform
import random
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import xllamacpp
from rich.console import Console
from rich.table import Table
from transformers import AutoModelForCausalLM, PreTrainedModel
from transformers.cache_utils import DynamicCache

from model import Engine, SamplingParams, TokenEvent, describe
from model.weights.hub import resolve


@dataclass(frozen=True)
class Speed:
    """Tokens per second of one run."""

    prefill: float
    decode: float


Run = Callable[[list[int], int], Speed]


def ours(engine: Engine) -> Run:
    """The whole path of a request, events and text included."""

    def run(ids: list[int], new: int) -> Speed:
        engine.forget()
        params = SamplingParams(max_tokens=new, ignore_eos=True)
        begin = first = time.perf_counter()
        for event in engine.generate(ids, params):
            if isinstance(event, TokenEvent) and event.index == 0:
                first = time.perf_counter()
        return Speed(len(ids) / (first - begin), (new - 1) / (time.perf_counter() - first))

    return run


def transformers(model: PreTrainedModel) -> Run:
    """A bare greedy loop: faster than `generate`, which adds its own bookkeeping."""

    @torch.inference_mode()
    def run(ids: list[int], new: int) -> Speed:
        cache = DynamicCache(config=model.config)
        begin = time.perf_counter()
        out = model(torch.tensor([ids]), past_key_values=cache, use_cache=True, logits_to_keep=1)
        token = out.logits[:, -1].argmax(-1, keepdim=True)
        first = time.perf_counter()
        for _ in range(new - 1):
            token = model(token, past_key_values=cache, use_cache=True).logits[:, -1].argmax(-1, keepdim=True)
        token.item()
        return Speed(len(ids) / (first - begin), (new - 1) / (time.perf_counter() - first))

    return run


def llama_cpp(server: xllamacpp.Server) -> Run:
    """By llama.cpp's own timings, which leave out its HTTP and JSON."""

    def run(ids: list[int], new: int) -> Speed:
        request = {
            "prompt": ids,
            "n_predict": new,
            "temperature": 0,
            "ignore_eos": True,
            "cache_prompt": False,
        }
        timings = server.handle_completions(request)["timings"]
        return Speed(timings["prompt_per_second"], timings["predicted_per_second"])

    return run


def start_llama_cpp(path: Path, threads: int, context: int) -> xllamacpp.Server:
    """A server inside this process, flash attention on."""
    params = xllamacpp.CommonParams()
    params.model.path = str(path)
    params.n_ctx, params.n_parallel = context, 1
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
    params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_ENABLED
    params.verbosity = -1
    return xllamacpp.Server(params)


def main() -> None:
    """Measure and print one table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="auto", help="a GGUF file, or auto")
    parser.add_argument("--prompts", default="512,2048", help="prompt lengths")
    parser.add_argument("--new", type=int, default=64, help="tokens written after each prompt")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    path, lengths = resolve(options.model), [int(length) for length in options.prompts.split(",")]
    context = max(lengths) + options.new + 8

    contestants: dict[str, Run] = {"llama.cpp": llama_cpp(start_llama_cpp(path, options.threads, context))}
    chosen = describe("cpu").dtype
    for dtype in ("float32", "bfloat16"):
        engine = Engine.load(path, device="cpu", dtype=dtype)
        contestants[f"ours {dtype}{' (auto)' if dtype == chosen else ''}"] = ours(engine)
        peer = AutoModelForCausalLM.from_pretrained(
            path.parent, gguf_file=path.name, dtype=getattr(torch, dtype), attn_implementation="sdpa"
        )
        contestants[f"transformers {dtype}"] = transformers(peer.train(False))

    prompts = {length: random.Random(length).choices(range(100, 40_000), k=length) for length in lengths}
    speeds: dict[tuple[str, int], list[Speed]] = {}
    for run in contestants.values():
        run(prompts[lengths[0]][:64], 4)  # caches, kernels and pages warm
    for _ in range(options.repeats):
        for length, ids in prompts.items():
            for name, run in contestants.items():
                speeds.setdefault((name, length), []).append(run(ids, options.new))

    hardware = describe("cpu")
    machine = f"{hardware.device_name} ({' '.join(hardware.features)}), {options.threads} threads"
    table = Table(
        title=f"{path.stem}, {machine}, tokens/s",
        caption=f"torch {torch.__version__}, {platform.system()}, median of {options.repeats}",
    )
    table.add_column("engine")
    for length in lengths:
        table.add_column(f"prefill {length}", justify="right")
        table.add_column(f"decode after {length}", justify="right")
    for name in contestants:
        cells = []
        for length in lengths:
            runs = speeds[name, length]
            cells += [statistics.median(r.prefill for r in runs), statistics.median(r.decode for r in runs)]
        table.add_row(name, *(f"{cell:.1f}" for cell in cells))
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
