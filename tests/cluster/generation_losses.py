"""Losses of nodes, engines and the router while answers stream: how they ended, and that what must hold held.

    python -m tests.cluster.generation_losses [--losses 20] [--nodes 3] [--seed 0] [--only node]

Six threads ask seeded questions all the time, most of them with `LONGLEAF_CLUSTER_RESUME`, some without. A
loss is a worker node whose processes all die at once, an engine's process, or the router's. It counts only
where streams were under way. After each, every stream has ended with the tokens that one engine alone writes,
or, without resuming, with `engine_lost`; engines and router keep nothing of requests that are over; a purge
reaches every engine. What does not hold ends the program with 1.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import psutil
import ray

from tests.cluster.generation_world import GenerationWorld, Running
from tests.cluster.ray_nodes import QUICK, Nodes


def kinds(losses: int) -> list[str]:
    """What is lost, in which order: nodes two times in three."""
    others = ["engine", "router"]
    return [others[(number // 3) % len(others)] if number % 3 == 2 else "node" for number in range(losses)]


def strike(world: GenerationWorld, kind: str, chance: random.Random) -> tuple[str, int]:
    """Lose something while streams are under way; returns what it was and how many were."""
    world.until(lambda: sum(each.tokens > 20 for each in world.open) >= 3, "streams are under way")
    time.sleep(chance.uniform(0, 2))
    found: list[Running] = []
    world.until(lambda: bool(found) or bool(found.extend(world.busy())), "an engine writes")
    under_way = len(world.open)
    if kind == "router":
        ray.kill(world.router, no_restart=False)
        return kind, under_way
    lost = chance.choice(found)
    world.running.remove(lost)
    if kind == "engine":
        with suppress(psutil.NoSuchProcess):
            psutil.Process(lost.pid).kill()
        return kind, under_way
    with_router = lost.node == world.router_node()
    node = next(each for each in world.nodes.workers if each.node_id == lost.node)  # type: ignore[attr-defined]
    world.nodes.cut_off(node)
    return ("node and router" if with_router else kind), under_way


def lose(world: GenerationWorld, losses: list[str], chance: random.Random) -> None:
    """Bring the losses about, and print what they did."""
    struck: Counter[str] = Counter()
    sums: Counter[str] = Counter()
    under_way = 0
    for number, kind in enumerate(losses, 1):
        world.ended.clear()
        with world.asking():
            what, open_ = strike(world, kind, chance)
            there = set(world.open)
            began = time.monotonic()
            if kind == "node":
                world.nodes.workers.append(world.nodes.add())
            if kind != "router":
                world.start()
            world.until(lambda there=there: not there & world.open, "streams of before the loss end", 200)
            took = time.monotonic() - began
        world.check()
        struck[what] += 1
        under_way += open_
        sums.update(world.ended)
        ways = ", ".join(f"{count} {way}" for way, count in sorted(world.ended.items()))
        print(f"{number:3} {what:16} {open_} streams under way, over after {took:5.1f} s: {ways}", flush=True)
    listed = ", ".join(f"{count} of {kind}" for kind, count in struck.items())
    print(
        f"{sum(struck.values())} losses ({listed}) with {under_way} streams under way, "
        f"{sum(sums.values())} streams: {dict(sums)}, 0 invariants broken"
    )


def main() -> None:
    """Print a line for each loss, and the sums."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--losses", type=int, default=20)
    parser.add_argument("--nodes", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=("node", "engine", "router"))
    options = parser.parse_args()
    wanted = [options.only] * options.losses if options.only else kinds(options.losses)
    with tempfile.TemporaryDirectory(prefix="longleaf-losses-") as folder:
        nodes = Nodes(options.nodes, _system_config=QUICK)
        try:
            world = GenerationWorld(nodes, Path(folder) / "tiny")
            lose(world, wanted, random.Random(options.seed))
            world.close()
        finally:
            nodes.close()


if __name__ == "__main__":
    main()
