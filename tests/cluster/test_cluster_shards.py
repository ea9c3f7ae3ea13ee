"""Shards on a cluster of two nodes: the ranking of one index, changes and losses while searches go on."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from ray_nodes import Nodes

from api.cluster.shard_ray import named
from rag.errors import InvalidRequest
from rag.shards.placement import Layout
from rag.store.repositories import DEFAULT_SCOPE, Documents
from tests.cluster.shard_world import QUESTIONS, World

if TYPE_CHECKING:
    from tests.conftest import PostgresServer


@pytest.fixture(scope="module")
def world(
    nodes: Nodes, postgres_server: PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    """Two shards with two replicas each, which the tests change one after the other."""
    assert nodes.workers
    name = f"test_{secrets.token_hex(6)}"
    made = World(postgres_server.create(name), tmp_path_factory.mktemp("data"))
    try:
        made.laying.lay(2, 2)
        yield made
        made.close()
    finally:
        made.db.dispose()
        postgres_server.drop(name)


def test_shards_on_two_nodes_rank_as_one_index(world: World) -> None:
    status = world.laying.status()
    assert [each.state for each in status] == ["ready"] * 4
    for shard in {each.shard for each in status}:
        assert len({each.node for each in status if each.shard == shard}) == 2, "replicas share a node"
    assert sum(each.holding.documents for each in status if each.holding) == 2 * len(_live(world))
    for question in QUESTIONS:
        found = world.look(question)
        assert found is not None
        assert found.candidates
        assert world.check(question, found) == "whole"


def test_shards_split_and_move_while_searches_go_on(world: World) -> None:
    with world.searching() as ended:
        layout = world.laying.split(world.laying.status()[0].shard.id)
        assert len(layout.shards) == 3
        shard = layout.shards[-1]
        world.laying.move(shard.id, shard.replicas[0])
        world.until(lambda: ended["whole"] >= 10, "searches go on")
    assert ended["partial"] == ended["refused"] == 0
    assert {each.state for each in world.laying.status()} == {"ready"}
    with pytest.raises(InvalidRequest, match="no shard 99"):
        world.laying.split(99)
    world.start_again(shard, shard.replicas[0])  # as who looks at the moment of a switch may do
    world.laying.ensure()
    world.until(lambda: named(world.ray)[world.library.collection_id] == _layout(world).replicas(), "ended")


def test_what_is_deleted_leaves_the_shards(world: World) -> None:
    gone = next(row for row in _live(world) if row.title == "security")
    before = _held(world)
    world.library.delete(gone.id)
    for question in QUESTIONS:
        found = world.look(question)
        assert found is not None
        assert gone.id not in {candidate.document_id for candidate in found.candidates}
        assert world.check(question, found) == "whole"
    world.until(lambda: _held(world) == before - 2, "its replicas forget it, asked or not")


def test_a_lost_node_is_overcome_or_said(world: World, nodes: Nodes) -> None:
    with world.searching() as ended:
        world.until(lambda: ended["whole"] > 0, "a search before")
        nodes.kill(nodes.workers[0])
        seen = sum(ended.values())
        world.until(lambda: sum(ended.values()) >= seen + 10, "searches after")
        nodes.workers.append(nodes.add())
        world.until(world.mended, "the new node has its replicas")
        whole = ended["whole"]
        world.until(lambda: ended["whole"] >= whole + 5, "whole searches again")
    assert ended["refused"] == 0, "the other node had a replica of every shard"


def _layout(world: World) -> Layout:
    layout = world.laying.layout()
    assert layout is not None
    return layout


def _live(world: World) -> list[object]:
    with world.db.read() as session:
        return list(Documents(session, DEFAULT_SCOPE).live(world.library.collection_id))


def _held(world: World) -> int:
    return sum(each.holding.documents for each in world.laying.status() if each.holding)
