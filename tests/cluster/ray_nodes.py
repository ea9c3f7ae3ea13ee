"""A Ray cluster of several nodes on this machine, started and lost as a test says."""

from __future__ import annotations

import os

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # before Ray is imported: nothing leaves the machine
# on a busy machine a node takes long to start
os.environ.setdefault("RAY_raylet_start_wait_time_s", "120")
# by itself Ray lets its workers stand back behind every other program of the machine
os.environ.setdefault("RAY_worker_niceness", "0")
os.environ.setdefault("RAY_agent_register_timeout_ms", "180000")

import inspect
import socket
from contextlib import suppress
from typing import Any

import psutil
import ray
import ray._private.services
import ray._private.utils
from ray._raylet import (
    DASHBOARD_AGENT_LISTEN_PORT_NAME,
    METRICS_AGENT_PORT_NAME,
    METRICS_EXPORT_PORT_NAME,
    persist_port,
)
from ray.cluster_utils import Cluster

# Agents without a dashboard: what else they import takes a busy machine longer than a node waits for them.
ray._private.utils.get_dashboard_dependency_error = lambda: ImportError("tests look at no dashboard")

STORE = 100 << 20
"""Bytes of each node's object store."""
ALONE = {"include_dashboard": False, "include_log_monitor": False, "no_monitor": True}
"""A node without the programs that look at it and scale it, each of which takes seconds to load."""
QUICK = {
    "health_check_initial_delay_ms": 1000,
    "health_check_period_ms": 1000,
    "health_check_failure_threshold": 5,
}
"""How Ray notices soon that a node is lost."""


def _quick_agents() -> None:
    """Start no API server, and say beforehand what agents without a dashboard say once they have come: that
    they listen nowhere. On a busy machine they take longer to load than the 15 s after which a raylet gives
    up its node."""
    start = ray._private.services.start_raylet

    def started(redis: str, gcs: str, node_id: str, *more: Any, **named: Any) -> Any:
        folder = inspect.signature(start).bind(redis, gcs, node_id, *more, **named).arguments["session_dir"]
        for name in (METRICS_AGENT_PORT_NAME, METRICS_EXPORT_PORT_NAME, DASHBOARD_AGENT_LISTEN_PORT_NAME):
            persist_port(folder, node_id, name, -1)
        return start(redis, gcs, node_id, *more, **named)

    ray._private.services.start_raylet = started
    ray._private.services.start_api_server = lambda *_, **__: (None, None)


_quick_agents()


def _free_port() -> int:
    with socket.create_server(("", 0)) as taken:
        return int(taken.getsockname()[1])


class Nodes:
    """A cluster with a head and nodes that come and go."""

    def __init__(self, nodes: int, *, joined: bool = True, cpus: float = 2, **head: Any) -> None:
        """With `joined` this process is its driver; `cpus` are each node's by its own account."""
        self._cpus = cpus
        self._joined = joined
        self.cluster = Cluster()
        self._start(num_cpus=cpus, object_store_memory=STORE, **head)
        self.workers = [self.add() for _ in range(nodes - 1)]
        if joined:
            ray.init(address=self.cluster.address, log_to_driver=False)

    @property
    def address(self) -> str:
        """What `--cluster` takes."""
        return str(self.cluster.address)

    def add(self) -> object:
        """Add a node that takes work: two CPUs by its own account if not said otherwise."""
        node = self._start(num_cpus=self._cpus, object_store_memory=STORE, resources={"worker": 2})
        self.cluster.wait_for_nodes()
        return node

    def _start(self, **given: Any) -> object:
        """Start a node, the head first; one that did not come up in time is tried again."""
        for left in (2, 1, 0):
            try:
                return self.cluster.add_node(**ALONE, runtime_env_agent_port=_free_port(), **given)
            except Exception:
                if not left:
                    raise
        raise AssertionError

    def kill(self, node: object) -> None:
        """Lose a node without warning."""
        self.cluster.remove_node(node, allow_graceful=False)
        if node in self.workers:
            self.workers.remove(node)

    def cut_off(self, node: Any) -> int:
        """Lose a node as a loss of power loses it: all of its processes at once, none with a last word.

        Returns how many actors went with it.
        """
        processes = self.processes(node)
        actors = len(self.actors(node))
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self.kill(node)
        return actors

    def processes(self, node: Any) -> list[psutil.Process]:
        """The node's raylet and all that it has started."""
        raylet = psutil.Process(node.all_processes["raylet"][0].process.pid)
        return [raylet, *raylet.children(recursive=True)]

    def actors(self, node: Any) -> list[psutil.Process]:
        """The processes of the pipeline's actors on a node."""
        found = []
        for process in self.processes(node):
            with suppress(psutil.Error):
                if "MapWorker" in " ".join(process.cmdline()):
                    found.append(process)
        return found

    def close(self) -> None:
        """End the driver and every node."""
        if self._joined:
            ray.shutdown()
        self.cluster.shutdown()


def start_worker(address: str, ip: str, cpus: float) -> Any:
    """A node of the cluster at an address, which this process keeps and which is at `ip` itself."""
    from ray._private.node import Node  # noqa: PLC0415
    from ray._private.parameter import RayParams  # noqa: PLC0415

    given = RayParams(
        gcs_address=address,
        node_ip_address=ip,
        num_cpus=cpus,
        num_gpus=0,
        object_store_memory=STORE,
        resources={"worker": 2},
        node_manager_port=0,
        dashboard_agent_listen_port=None,
        min_worker_port=0,
        max_worker_port=0,
        runtime_env_agent_port=_free_port(),
        include_log_monitor=False,
    )
    return Node(given, head=False, shutdown_at_exit=False, spawn_reaper=False)
