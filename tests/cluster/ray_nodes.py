"""A Ray cluster of several nodes on this machine, started and lost as a test says."""

from __future__ import annotations

import os

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # before Ray is imported: nothing leaves the machine

import ray
from ray.cluster_utils import Cluster

STORE = 100 << 20
"""Bytes of each node's object store."""


class Nodes:
    """A cluster with a head and nodes that come and go."""

    def __init__(self, nodes: int) -> None:
        self.cluster = Cluster(
            initialize_head=True,
            head_node_args={"num_cpus": 2, "object_store_memory": STORE, "include_dashboard": False},
        )
        self.workers = [self.add() for _ in range(nodes - 1)]
        ray.init(address=self.cluster.address, log_to_driver=False)

    @property
    def address(self) -> str:
        """What `--cluster` takes."""
        return str(self.cluster.address)

    def add(self) -> object:
        """Add a node that takes work: two CPUs by its own account."""
        node = self.cluster.add_node(num_cpus=2, object_store_memory=STORE, resources={"worker": 2})
        self.cluster.wait_for_nodes()
        return node

    def kill(self, node: object) -> None:
        """Lose a node without warning."""
        self.cluster.remove_node(node, allow_graceful=False)
        if node in self.workers:
            self.workers.remove(node)

    def close(self) -> None:
        """End the driver and every node."""
        ray.shutdown()
        self.cluster.shutdown()
