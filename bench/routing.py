"""Prompts sent to one of several engines by what each has read, beside drawing one; run and simulated.

    python -m bench.routing [--questions 400] [--engines 4] [--here]

People of several workspaces ask several questions each about some of their documents, which together are more
than all engines can keep. The run: engines of a random Llama as actors of a Ray cluster on this machine,
asked through the router as the service does it. The simulation: the same router, the same questions, engines
without a model. How many tokens need not be read again does not depend on how fast a model is.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from api.cluster.engine_facts import EnginePlan
from api.cluster.engine_ray import connect, start_engine
from api.cluster.engine_remote import RemoteEngine
from api.cluster.joining import load_ray
from api.cluster.router import Asked, Placed, Router
from api.cluster.router_host import RouterHost
from bench.scale import small_model
from bench.scale.clock import Clock
from bench.scale.engine import Job, Shape
from bench.scale.fleet import Fleet
from bench.scale.pace import CpuPace
from bench.scale.workload import Question, Sessions, tokens_of
from model import EngineOptions, Finished, PrefillProgress, SamplingParams
from model.kv.names import block_names

SHAPE = Shape(block=64, chunk=128, step_tokens=128, blocks=192)
OPTIONS = EngineOptions(
    block_size=SHAPE.block, chunk=SHAPE.chunk, kv_tokens=SHAPE.block * SHAPE.blocks, speculate=False
)
SESSIONS = Sessions(
    rate=20.0, workspaces=12, documents=30, about=2, questions=5, think=2.0, document=384, skeleton=60, new=8
)
MOST_WAITING = 4096
# Of the random Llama on one core, seconds, roughly: the result does not depend on it.
PACE = CpuPace(step=4e-4, rows=1e-4, row=5e-5, context=0, chunk=2e-3, token=5e-6, pair=0)
HOP = 1e-3
ROUTINGS = {"by what engines hold": True, "drawn": False}


@dataclass(frozen=True)
class Outcome:
    """Tokens of all prompts, and those of them that were not read again."""

    prompt: int
    cached: int
    seconds: float

    @property
    def share(self) -> float:
        """Of the tokens, those not read again."""
        return self.cached / self.prompt


def simulated(questions: list[Question], engines: int, *, by_prefix: bool, seed: int) -> Outcome:
    """Without models."""
    clock, cached = Clock(), []
    router = Router(SHAPE.block, most_waiting=MOST_WAITING, by_prefix=by_prefix, seed=seed)
    fleet = Fleet(clock, engines, PACE, SHAPE, router=router, hop=HOP)

    def done(job: Job) -> None:
        cached.append(job.cached)

    for question in questions:
        clock.at(question.at, lambda question=question: fleet.ask(question, done))  # type: ignore[misc]
    clock.run()
    assert len(cached) == len(questions)
    return Outcome(sum(each.prompt for each in questions), sum(cached), clock.now)


def run(questions: list[Question], engines: int, model: Path, *, by_prefix: bool) -> Outcome:
    """With engines on a cluster."""
    ray = load_ray()
    router = ray.remote(RouterHost).options(max_concurrency=10_000, num_cpus=0)
    actor = router.remote(MOST_WAITING, by_prefix=by_prefix)
    plan = EnginePlan(str(model), "cpu", "float32", OPTIONS)
    hosts = [start_engine(plan, actor, num_cpus=0) for _ in range(engines)]
    remote = connect(actor, resume=True)
    while len(ray.get(actor.state.remote())["engines"]) < engines:
        time.sleep(0.2)
    begun = time.perf_counter()
    with ThreadPoolExecutor(64) as threads:
        ends = [threads.submit(_asked, remote, question, begun) for question in questions]
        cached = sum(end.result() for end in ends)
    seconds = time.perf_counter() - begun
    for host in [*hosts, actor]:
        ray.kill(host)
    return Outcome(sum(each.prompt for each in questions), cached, seconds)


def _asked(remote: RemoteEngine, question: Question, begun: float) -> int:
    threading.Event().wait(max(0.0, begun + question.at - time.perf_counter()))
    params = SamplingParams(max_tokens=question.new, ignore_eos=True)
    ids = tokens_of(question, small_model.VOCABULARY)
    *_, end = remote.generate(ids, params, salt=question.workspace)
    assert isinstance(end, Finished)
    return end.cached_tokens


class Here:
    """The same without a cluster: engines in this process, behind the same router."""

    def __init__(self, plan: EnginePlan, engines: int, *, by_prefix: bool) -> None:
        self._engines = {f"engine {number}": plan.load() for number in range(engines)}
        self._router = Router(SHAPE.block, most_waiting=MOST_WAITING, by_prefix=by_prefix)
        for name in self._engines:
            self._router.add(name, SHAPE.blocks)
        self._placed: dict[Asked, Placed] = {}
        self._changed = threading.Condition()

    def ask(self, question: Question, begun: float) -> int:
        """Tokens of the question that were not read again."""
        threading.Event().wait(max(0.0, begun + question.at - time.perf_counter()))
        ids = tokens_of(question, small_model.VOCABULARY)
        names = tuple(block_names(ids, SHAPE.block, b"", question.workspace))
        asked = Asked(question.workspace, names, len(ids), question.new)
        with self._changed:
            self._router.ask(asked)
            self._place()
            self._changed.wait_for(lambda: asked in self._placed)
            placed = self._placed.pop(asked)
        params = SamplingParams(max_tokens=question.new, ignore_eos=True)
        cached = began = 0
        for event in self._engines[placed.engine].generate(ids, params, salt=question.workspace):
            with self._changed:
                if isinstance(event, PrefillProgress):
                    told = self._router.read_on if began else self._router.reading
                    told(placed.ticket, event.read)
                    began = 1
                elif isinstance(event, Finished):
                    cached = event.cached_tokens
                    self._router.end(placed.ticket, question.new)
                self._place()
        return cached

    def close(self) -> None:
        """End the engines."""
        for engine in self._engines.values():
            engine.close()

    def _place(self) -> None:
        for placed in self._router.place():
            self._placed[placed.asked] = placed
        self._changed.notify_all()


def run_here(questions: list[Question], engines: int, model: Path, *, by_prefix: bool) -> Outcome:
    """With engines in this process."""
    torch.set_num_threads(1)
    here = Here(EnginePlan(str(model), "cpu", "float32", OPTIONS), engines, by_prefix=by_prefix)
    begun = time.perf_counter()
    with ThreadPoolExecutor(64) as threads:
        ends = [threads.submit(here.ask, question, begun) for question in questions]
        cached = sum(end.result() for end in ends)
    here.close()
    return Outcome(sum(each.prompt for each in questions), cached, time.perf_counter() - begun)


def main() -> None:
    """Print both."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--questions", type=int, default=400)
    parser.add_argument("--engines", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--here", action="store_true", help="engines in this process, without a cluster")
    options = parser.parse_args()
    questions = SESSIONS.draw(options.questions, options.seed)
    corpus = SESSIONS.workspaces * SESSIONS.documents * SESSIONS.document
    kept = options.engines * SHAPE.blocks * SHAPE.block
    print(
        f"{options.engines} engines that keep {kept:,} tokens together; {len(questions)} questions with "
        f"{sum(each.prompt for each in questions):,} tokens about documents of {corpus:,}"
    )
    measured: dict[str, Outcome] = {}
    if not options.here:
        ray: Any = load_ray()
        os.environ.setdefault("OMP_NUM_THREADS", "1")
        ray.init("local", num_cpus=4, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    measure = run_here if options.here else run
    with tempfile.TemporaryDirectory() as folder:
        model = small_model.write(Path(folder))
        for name, by_prefix in ROUTINGS.items():
            measured[name] = measure(questions, options.engines, model, by_prefix=by_prefix)
    if not options.here:
        ray.shutdown()
    heads = ("run: cached", "share", "simulated", "share", "apart")
    print(f"{'engines are chosen':24}" + "".join(f"{head:>13}" for head in heads))
    for name, by_prefix in ROUTINGS.items():
        real = measured[name]
        guess = simulated(questions, options.engines, by_prefix=by_prefix, seed=options.seed)
        print(
            f"{name:24}{real.cached:13,}{real.share:13.1%}{guess.cached:13,}{guess.share:13.1%}"
            f"{guess.cached / real.cached - 1:+13.1%}"
        )
    first, other = measured.values()
    print(f"cached tokens, first beside second: {first.cached / other.cached:.2f} times")


if __name__ == "__main__":
    main()
