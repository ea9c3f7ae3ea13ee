"""The engine beside transformers and llama.cpp, and what it does that they do not; one run, two tables.

    python -m bench.engine [--model auto] [--prompts 2048,8192] [--new 64] [--repeats 3] [--threads 2]

All three read the same GGUF file and write greedily in a process that does nothing else. transformers runs in
the dtype that is fastest for it here, with SDPA; llama.cpp on the file's own quantisation, with flash
attention. Medians over the repeats, which go round the contestants in turn so that a slow minute hits all.
A prompt that would fill the model's window is shortened so that the answer fits.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import platform
import random
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from bench.engine_peers import Contestant, LlamaCpp, Ours, Transformers
from model import Engine, EngineOptions, PrefillProgress, SamplingParams, TokenEvent, describe
from model.weights.hub import resolve

STREAMS = 8
_Function = Callable[[torch.Tensor], torch.Tensor]


def main() -> None:
    """Measure and print."""
    options = _options()
    torch.set_num_threads(options.threads)
    path = resolve(options.model)
    chosen = describe("cpu").dtype
    engine = Engine.load(path, device="cpu")
    window = engine.context_length
    lengths = [min(int(each), window - options.new - 8) for each in options.prompts.split(",")]
    # before the peers' libraries are in the process: their threads and objects are none of ours
    alone = _alone(engine, path, lengths[-1], options)
    plain = Engine.load(path, device="cpu", options=EngineOptions(speculate=False))
    room = max(*lengths, 1024) + 2 * options.new + 8
    contestants: dict[str, Contestant] = {
        f"ours ({engine.weights}, {engine.dtype})": Ours(engine),
        "ours, without drafts": Ours(plain),
        **{
            f"transformers ({dtype})": Transformers(path, dtype)
            for dtype in dict.fromkeys(("float32", chosen))
        },
        "llama.cpp": LlamaCpp(path, options.threads, room, 1),
    }
    several: dict[str, Contestant] = {**contestants}
    several["llama.cpp"] = LlamaCpp(path, options.threads, 512 + options.new, STREAMS)
    console = Console(width=150)
    console.print(_peers(contestants, several, engine, lengths, options))
    console.print(alone)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="auto", help="a GGUF file, or auto")
    parser.add_argument("--prompts", default="2048,8192", help="prompt lengths")
    parser.add_argument("--new", type=int, default=64, help="tokens written after each prompt")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1))
    return parser.parse_args()


def _peers(
    contestants: dict[str, Contestant],
    several: dict[str, Contestant],
    engine: Engine,
    lengths: list[int],
    options: argparse.Namespace,
) -> Table:
    draw = random.Random(0)
    prompts = {length: draw.choices(range(100, 40_000), k=length) for length in lengths}
    crowd = [draw.choices(range(100, 40_000), k=270) for _ in range(STREAMS)]
    quoting = _quoting(engine)
    values: dict[tuple[str, str], list[float]] = {}
    for one in [*contestants.values(), several["llama.cpp"]]:
        one.run(prompts[lengths[0]][:64], 4)  # caches, kernels and pages warm
    for _ in range(options.repeats):
        for name, one in contestants.items():
            for length, ids in prompts.items():
                speed = one.run(ids, options.new)
                values.setdefault((name, f"prefill {length}"), []).append(speed.prefill)
                values.setdefault((name, f"decode after {length}"), []).append(speed.decode)
            values.setdefault((name, "decode after 256"), []).append(one.run(crowd[0], options.new).decode)
            values.setdefault((name, "quoting"), []).append(one.run(quoting, 2 * options.new).decode)
            together = several[name].together(crowd, options.new)
            values.setdefault((name, f"{STREAMS} streams"), []).append(together)
    columns = list(dict.fromkeys(column for _, column in values))
    table = Table(title=f"tokens/s, {_machine(options)}", caption=f"median of {options.repeats}")
    table.add_column("engine")
    for column in columns:
        table.add_column(column, justify="right")
    medians = {key: statistics.median(runs) for key, runs in values.items()}
    for name in contestants:
        table.add_row(name, *(f"{medians[name, column]:.1f}" for column in columns))
    for ours in list(contestants)[:2]:
        for peer in ("transformers", "llama.cpp"):
            # The best of a peer's dtypes, column by column.
            best = {
                c: max(v for (name, at), v in medians.items() if at == c and name.startswith(peer))
                for c in columns
            }
            table.add_row(f"{ours} / {peer}", *(f"{medians[ours, c] / best[c]:.2f}" for c in columns))
    return table


def _alone(engine: Engine, path: Path, length: int, options: argparse.Namespace) -> Table:
    """What there is no peer for."""
    table = Table(title="ours alone", caption=f"median of {options.repeats}")
    table.add_column("what")
    table.add_column("here", justify="right")
    prompt = random.Random(1).choices(range(100, 40_000), k=length)
    first, second = [], []
    for repeat in range(options.repeats):
        engine.forget()
        first.append(_first_token(engine, [*prompt[:-8], *range(repeat, repeat + 8)]))
        second.append(_first_token(engine, [*prompt[:-8], *range(50 + repeat, 58 + repeat)]))
    cold = statistics.median(first)
    table.add_row(f"first token after {length} tokens", f"{cold:.2f} s")
    table.add_row("a second question over the same tokens", f"{statistics.median(second) / cold:.1%} of it")
    restarted = [_after_restart(path, prompt) for _ in range(options.repeats)]
    table.add_row("the same after a restart", f"{statistics.median(restarted) / cold:.1%} of it")
    shares = [_share_beside_a_reader(engine, prompt) for _ in range(options.repeats)]
    table.add_row("tokens/s of a stream while a prompt is read", f"{statistics.median(shares):.0%} of alone")
    for what, new in (("reading", 1), ("writing", options.new)):
        overheads = [
            _overhead(engine, prompt[:2048] if new == 1 else prompt[:256], new)
            for _ in range(3 * options.repeats)  # shares of milliseconds: one run differs by a quarter
        ]
        table.add_row(
            f"{what}: time beside matrix products and attention",
            f"{statistics.median(overheads):.1%} of them",
        )
    return table


def _quoting(engine: Engine) -> list[int]:
    """A real passage and its own beginning: the model goes on as the passage does."""
    text = (Path(__file__).parent.parent / "LICENSE").read_text("utf-8")
    ids = engine.tokenizer.encode(text)[:900]
    return [*ids, *ids[:60]]


def _first_token(engine: Engine, ids: list[int]) -> float:
    begin = time.perf_counter()
    list(engine.generate(ids, SamplingParams(max_tokens=1, ignore_eos=True)))
    return time.perf_counter() - begin


def _after_restart(path: Path, prompt: list[int]) -> float:
    with tempfile.TemporaryDirectory() as folder:
        options = EngineOptions(kv_folder=Path(folder))
        with Engine.load(path, device="cpu", options=options) as engine:
            list(engine.generate(prompt, SamplingParams(max_tokens=1)))
        with Engine.load(path, device="cpu", options=options) as engine:
            list(engine.generate(prompt[:64], SamplingParams(max_tokens=1)))
            return _first_token(engine, [*prompt[:-8], *range(8)])


def _share_beside_a_reader(engine: Engine, prompt: list[int]) -> float:
    """Tokens/s of one stream while a long prompt is read, over its tokens/s alone."""
    engine.forget()
    stream = engine.generate(prompt[-200:], SamplingParams(max_tokens=4000, ignore_eos=True))
    times = [time.perf_counter() for event in _until_tokens(stream, 48) if isinstance(event, TokenEvent)]
    alone = (len(times) - 1) / (times[-1] - times[0])
    reading, read = threading.Event(), threading.Event()

    def read_it() -> None:
        for event in engine.generate(prompt, SamplingParams(max_tokens=1)):
            if isinstance(event, PrefillProgress) and event.read:
                reading.set()
        read.set()

    reader = threading.Thread(target=read_it)
    reader.start()
    beside: list[float] = []
    for event in stream:
        if isinstance(event, TokenEvent) and reading.is_set():
            beside.append(time.perf_counter())
        if read.is_set():
            break
    stream.close()  # type: ignore[attr-defined]
    reader.join()
    return (len(beside) - 1) / (beside[-1] - beside[0]) / alone


def _until_tokens(stream, count: int):  # type: ignore[no-untyped-def]
    for event in stream:
        yield event
        count -= isinstance(event, TokenEvent)
        if not count:
            return


def _overhead(engine: Engine, prompt: list[int], new: int) -> float:
    """Time of a request outside of matrix products and attention, over the time inside them."""
    spent = _Timed(engine)
    engine.forget()
    begin = time.perf_counter()
    list(engine.generate(prompt, SamplingParams(max_tokens=new, ignore_eos=True)))
    total = time.perf_counter() - begin
    spent.restore()
    return total / spent.seconds - 1


class _Timed:
    """Adds up the time in the model's linear layers, its head and its attention, and in nothing else.

    Norms, rotations, gates and residual sums count as overhead. Where layers are modules, the clocks are
    around their `forward`, and their own time counts as overhead too; passes of few rows have a clock of
    their own.
    """

    def __init__(self, engine: Engine) -> None:
        self._hooked = 0.0
        executor = engine._executor
        self._nanoseconds = ctypes.c_int64()
        self._stack = executor._stack  # type: ignore[attr-defined]
        if self._stack is not None:
            self._stack.time(self._nanoseconds)
        self._model, self._executor = executor._model, executor  # type: ignore[attr-defined]
        self._attend = executor._attend  # type: ignore[attr-defined]
        linears = [each for each in self._model.modules() if "linear" in type(each).__name__.lower()]
        self._clocked = [(each, "forward") for each in linears] + [(self._model, "head")]
        for owner, name in self._clocked:
            setattr(owner, name, self._timed(getattr(owner, name)))
        executor._attend = _TimedAttend(self, self._attend)  # type: ignore[attr-defined]

    @property
    def seconds(self) -> float:
        """So far."""
        return self._hooked + self._nanoseconds.value / 1e9

    def add(self, seconds: float) -> None:
        """Count them."""
        self._hooked += seconds

    def restore(self) -> None:
        """Take the clocks out again."""
        if self._stack is not None:
            self._stack.time(None)
        for owner, name in self._clocked:
            delattr(owner, name)
        self._executor._attend = self._attend  # type: ignore[attr-defined]

    def _timed(self, function: _Function) -> _Function:
        def timed(x: torch.Tensor) -> torch.Tensor:
            begin = time.perf_counter()
            out = function(x)
            self.add(time.perf_counter() - begin)
            return out

        return timed


class _TimedAttend:
    def __init__(self, timed: _Timed, attend: object) -> None:
        self._timed, self._attend = timed, attend
        self.name, self.plan = attend.name, attend.plan  # type: ignore[attr-defined]

    def __call__(self, *arguments: object) -> torch.Tensor:
        begin = time.perf_counter()
        out: torch.Tensor = self._attend(*arguments)  # type: ignore[operator]
        self._timed.add(time.perf_counter() - begin)
        return out


def _machine(options: argparse.Namespace) -> str:
    hardware = describe("cpu")
    name = f"{hardware.device_name} ({' '.join(hardware.features)}), {options.threads} threads"
    return f"{resolve(options.model).stem}, {name}, torch {torch.__version__}, {platform.system()}"


if __name__ == "__main__":
    main()
