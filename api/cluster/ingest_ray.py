"""Ray, asked for late, and the cluster that a command joins for its length."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from api.cluster.ingest_plan import Machine
from rag.errors import InvalidRequest, Unavailable


def load_ray() -> Any:
    """The module, told to report to nobody. Raises Unavailable (`ray_missing`)."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    try:
        import ray  # noqa: PLC0415
    except ImportError as error:
        raise Unavailable(
            "a cluster needs Ray, which is not installed: pip install 'longleaf[ray]'", code="ray_missing"
        ) from error
    return ray


@contextmanager
def joined(address: str) -> Iterator[Any]:
    """Ray, joined to the cluster at `HOST:PORT` or `auto` for the one that this machine is in.

    Raises InvalidRequest (`bad_cluster_address`), Unavailable (`ray_missing`, `cluster_unreachable`).
    """
    if "://" in address:
        raise InvalidRequest(
            f"the cluster's address {address!r} is not HOST:PORT; give the command on a machine of the "
            "cluster, with the address that `ray start` printed there, or `auto`",
            code="bad_cluster_address",
        )
    ray = load_ray()
    if ray.is_initialized():  # the process is in a cluster already
        yield ray
        return
    try:
        ray.init(
            address=address,
            log_to_driver=False,
            logging_level="ERROR",
            namespace="longleaf",
            configure_logging=False,
        )
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        raise Unavailable(
            f"no Ray cluster answers at {address!r} ({error}); start one with `ray start --head`, and give "
            "the command on one of its machines",
            code="cluster_unreachable",
        ) from error
    try:
        yield ray
    finally:
        ray.shutdown()


def machines(ray: Any) -> list[Machine]:
    """The nodes there are."""
    return [
        Machine(
            str(node["NodeID"]),
            float(node["Resources"].get("CPU", 0)),
            float(node["Resources"].get("GPU", 0)),
        )
        for node in ray.nodes()
        if node["Alive"]
    ]


def on_this_machine(ray: Any) -> Any:
    """The strategy that keeps an actor on the node of the command."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy  # noqa: PLC0415

    return NodeAffinitySchedulingStrategy(str(ray.get_runtime_context().get_node_id()), soft=False)
