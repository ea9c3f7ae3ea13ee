"""The cluster that the other tests of this folder rely on is real: work moves when a node is lost."""

from __future__ import annotations

import ray
from ray_nodes import Nodes


def test_work_is_done_again_where_a_node_is_lost(nodes: Nodes) -> None:
    @ray.remote(num_cpus=0.1, resources={"worker": 0.1}, max_retries=3)
    def where() -> str:
        return str(ray.get_runtime_context().get_node_id())

    first = ray.get(where.remote(), timeout=60)
    nodes.kill(nodes.workers[0])
    nodes.workers.append(nodes.add())
    second = ray.get(where.remote(), timeout=60)
    assert first != second
