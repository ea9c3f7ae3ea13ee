"""Carries the model of cost to 10^9 chunks and 10,000 questions a second, with the constants that were
measured.

    python -m bench.constants        # measures, and checks the simulation against runs
    python -m bench.simulate [--constants FILE] [--engines 8] [--seconds 60]

Of each model a cell of some engines is simulated, question by question and step by step, at growing rates
until
one of twenty first tokens comes later than two seconds after the question: what an engine can do. From that,
and from the constants of everything else, follow the machines for a corpus and a rate. Then a cell gets half
as many questions again as it was made for, and twice as many: what is behind first.

Measured here: the service, the index, PostgreSQL, the router, messages (`bench/scale/constants.json`).
Assumed: GPUs, from data sheets (`bench/scale/assumed.py`).
"""

from __future__ import annotations

import argparse
import math
from dataclasses import replace
from pathlib import Path

from bench.constants import OUT
from bench.scale import assumed
from bench.scale.assumed import MODELS, Model
from bench.scale.cell import Needs, Place, Result, needs, simulate
from bench.scale.constants import Constants
from bench.scale.workload import Sessions

SLOW_SECONDS = 2.0
SHARD = 1e6
SHARD_BYTES = 3.0e3
"""Memory of a chunk in an index (docs/decisions/0206-vector-index.md)."""
SESSIONS = Sessions(
    rate=1.0, workspaces=40, documents=200, about=3, questions=3, think=8.0,
    document=1200, skeleton=400, question=40, new=200,
)  # fmt: skip
CASES = ((1e6, 1.0), (1e7, 100.0), (1e8, 1000.0), (1e9, 10_000.0))


def capacity(model: Model, engines: int, constants: Constants, seconds: float) -> tuple[float, Result]:
    """Questions a second that a cell of so many engines answers in time, and what it does then."""
    place = Place(SHARD, SHARD)

    def at(rate: float) -> Result:
        asked = replace(SESSIONS, rate=rate)
        servers = needs(rate, constants, place)
        return simulate(
            model, engines, sessions=asked, constants=constants, place=place, servers=servers, seconds=seconds
        )

    def holds(result: Result) -> bool:
        return result.slow <= SLOW_SECONDS and result.behind["engines"] <= SLOW_SECONDS

    low = engines / 8
    found = at(low)
    while holds(result := at(2 * low)):
        low, found = 2 * low, result
    high = 2 * low
    for _ in range(4):
        middle = (low + high) / 2
        if holds(result := at(middle)):
            low, found = middle, result
        else:
            high = middle
    return low, found


def machines(
    model: Model, each: float, constants: Constants, *, chunks: float, rate: float, collection: float
) -> list[str]:
    """One row: what a corpus and a rate need, where each engine answers so many questions a second."""
    place = Place(min(chunks, collection), SHARD)
    count = max(2, math.ceil(rate / each))
    service = constants.embed + constants.answer
    search = constants.search + constants.search_chunk * min(place.shard, place.collection)
    cores = max(2, math.ceil(rate * service / assumed.BUSY))
    index = max(2 * math.ceil(chunks / SHARD), math.ceil(rate * place.shards * search / assumed.BUSY))
    memory = index * SHARD * SHARD_BYTES / 1e12
    database = rate * constants.postgres / assumed.BUSY
    hours = count * model.gpus / rate / 3600 * 1000
    return [
        f"{chunks:.0e}", f"{rate:,.0f}", f"{place.collection:.0e}", f"{count * model.gpus:,}", f"{cores:,}",
        f"{index:,}", f"{memory:.2f}", f"{database:.1f}", f"{rate * constants.commits:,.0f}", f"{hours:.2f}",
    ]  # fmt: skip


def breaks(constants: Constants, engines: int) -> list[tuple[str, float]]:
    """Questions a second at which what there is one of is full."""
    return sorted(
        [
            ("one PostgreSQL: its cores", assumed.DATABASE_CORES * assumed.BUSY / constants.postgres),
            ("one PostgreSQL: its commits", assumed.DATABASE_COMMITS / max(constants.commits, 1e-9)),
            (
                f"one router of {engines} engines",
                assumed.BUSY / (constants.route + constants.route_engine * engines),
            ),
            ("one router of 500 engines", assumed.BUSY / (constants.route + constants.route_engine * 500)),
        ],
        key=lambda entry: entry[1],
    )


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--constants", type=Path, default=OUT)
    parser.add_argument("--engines", type=int, default=8, help="of the cell that is simulated")
    parser.add_argument("--seconds", type=float, default=60.0)
    options = parser.parse_args()
    constants = Constants.load(options.constants)
    prompt = SESSIONS.skeleton + SESSIONS.about * SESSIONS.document + SESSIONS.question
    print(f"constants of {constants.machine}; prompts of {prompt:,} tokens, answers of {SESSIONS.new}")
    for model in MODELS:
        cell, result = capacity(model, options.engines, constants, options.seconds)
        each = cell / options.engines
        mean = sum(result.first) / len(result.first)
        print(
            f"\n{model.name} on {model.gpus} H100 (assumed): {each:.2f} questions/s an engine; "
            f"{result.cached:.0%} of the prompts' tokens cached; first token {mean:.2f} s (mean), "
            f"{result.slow:.2f} s (one of 20 exceeds it)"
        )
        heads = ("chunks", "questions/s", "collection", "GPUs", "service", "index", "index TB", "database",
                 "commits/s", "GPU-hours")  # fmt: skip
        print("".join(f"{head:>12}" for head in heads))
        cases = [(chunks, rate, SHARD) for chunks, rate in CASES] + [(1e9, 10_000.0, 1e9)]
        for chunks, rate, collection in cases:
            row = machines(model, each, constants, chunks=chunks, rate=rate, collection=collection)
            print("".join(f"{value:>12}" for value in row))
        place = Place(SHARD, SHARD)
        servers: Needs = needs(cell, constants, place)
        made = f"a cell made for {cell:.1f} questions/s"
        print(f"{made:40}{'first':>8}{'of 20':>8}   behind, seconds")
        for times in (1.0, 1.5, 2.0):
            over = simulate(
                model,
                options.engines,
                sessions=replace(SESSIONS, rate=cell * times),
                constants=constants,
                place=place,
                servers=servers,
                seconds=options.seconds,
            )
            behind = ", ".join(f"{name} {value:.1f}" for name, value in over.behind.items() if value > 0.05)
            print(
                f"{'gets ' + format(times, '.1f') + ' times that':40}{sum(over.first) / len(over.first):8.2f}"
                f"{over.slow:8.2f}   {behind or 'nothing'}"
            )
    print("\nwhat there is one of is full at questions/s")
    for name, rate in breaks(constants, options.engines):
        print(f"{name:40}{rate:12,.0f}")


if __name__ == "__main__":
    main()
