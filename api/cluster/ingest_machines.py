"""The machines of a cluster."""

from __future__ import annotations

from typing import Any

from api.cluster.ingest_plan import Machine


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
