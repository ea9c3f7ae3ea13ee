"""A node is cut off by the network while the cluster works, is given up, and comes back."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray
from ray_nodes import QUICK, Nodes

from rag.embedders import load_embedder
from rag.store.migrate import prepare_for_serving
from rag.store.session import Database
from tests.cluster.bulk_house import BulkHouse
from tests.cluster.island import THERE, Island
from tests.cluster.shard_world import World

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
PATIENCE = 200.0
DOCUMENTS = 60


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    """A head, which stays on this side of the cable."""
    if why := Island.why_not():
        pytest.skip(why)
    started = Nodes(1, _system_config=QUICK | {"health_check_timeout_ms": 2000})
    try:
        yield started
    finally:
        started.close()


@pytest.fixture
def island(nodes: Nodes, tmp_path: Path) -> Iterator[Island]:
    """A node beyond the cable, which is there."""
    made = Island(nodes.address, tmp_path / "island.log")
    try:
        _until(lambda: THERE in _alive(), "the island's node is there", made)
        yield made
    finally:
        made.close()


def _alive() -> set[str]:
    return {node["NodeManagerAddress"] for node in ray.nodes() if node["Alive"]}


def _until(holds, what: str, island: Island) -> float:
    began = time.monotonic()
    while not holds():
        assert time.monotonic() - began < PATIENCE, f"not within {PATIENCE:.0f} s: {what}\n{island.said()}"
        time.sleep(0.2)
    return time.monotonic() - began


def test_documents_of_a_node_that_was_cut_off_are_read_once(
    nodes: Nodes, island: Island, tmp_path: Path, database_url: str
) -> None:
    house = BulkHouse(tmp_path / "bulk", database_url)
    house.write(DOCUMENTS, (1, 15))
    command = house.start(nodes.address)
    try:
        _until(lambda: house.jobs().get("done", 0) > 2 and island.workers("MapWorker"), "both read", island)
        island.cut()
        cut_off = island.workers("MapWorker")
        assert cut_off
        noticed = _until(lambda: THERE not in _alive(), "the node is given up", island)
        done = house.jobs()["done"]
        enough = min(done + 2, DOCUMENTS)
        _until(lambda: house.jobs()["done"] >= enough, "the work goes on elsewhere", island)
        still = [process for process in cut_off if process.is_running()]
        assert still, "the actors on the other side do not know yet that they were given up"
        left = DOCUMENTS - house.jobs()["done"]
        island.heal()
        gone = _until(lambda: not island.workers("MapWorker"), "the old actors end", island)
        assert command.wait(PATIENCE) == 0, house.log.read_text()[-3000:]
    finally:
        if command.poll() is None:
            house.kill(command)
    print(
        f"given up after {noticed:.1f} s, {left} documents left; its actors ended {gone:.1f} s after healing"
    )
    assert house.check(load_embedder(house.settings)) == DOCUMENTS


def test_searches_are_whole_or_say_what_is_missing(island: Island, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'store.db'}"
    prepare_for_serving(Database(url))
    world = World(url, tmp_path / "data")
    try:
        world.laying.lay(2, 2)
        world.until(world.mended, "the replicas of a shard are on both nodes")
        with world.searching() as ended:
            world.until(lambda: ended["whole"] > 2, "searches before")
            island.cut()
            whole = ended["whole"]
            noticed = _until(lambda: THERE not in _alive(), "the node is given up", island)
            world.until(lambda: ended["whole"] > whole + 5, "whole searches while it is away")
            world.until(world.mended, "what it held is held elsewhere")
            island.heal()
            _until(lambda: not island.workers("ShardHost"), "the old replicas end", island)
            whole = ended["whole"]
            world.until(lambda: ended["whole"] > whole + 5, "whole searches after")
        print(f"given up after {noticed:.1f} s; {ended}")
        assert ended["refused"] == ended["partial"] == 0, "the other node had a replica of every shard"
        world.close()
    finally:
        world.db.dispose()
