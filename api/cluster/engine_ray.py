"""The router and the engines of a cluster, found or started."""

from __future__ import annotations

import secrets
from typing import Any

from api.cluster.engine_facts import EngineFacts, EnginePlan
from api.cluster.engine_host import EngineHost
from api.cluster.engine_remote import RemoteEngine
from api.cluster.joining import NAMESPACE, load_ray
from api.cluster.router_host import RouterHost
from rag.errors import Unavailable

ROUTER = "longleaf-router"
MOST_CALLS = 10_000
"""Calls that an actor works on at a time; nearly all of them wait."""
_CONNECT_SECONDS = 600.0


def the_router(most_waiting: int, **how: Any) -> Any:
    """The router's actor of this cluster, started where it is missing. It outlives who started it, and is
    started anew where its node is lost. Arguments as of `RouterHost`."""
    ray = load_ray()
    options = {
        "name": ROUTER,
        "namespace": NAMESPACE,
        "get_if_exists": True,
        "lifetime": "detached",
        "max_restarts": -1,
        "max_concurrency": MOST_CALLS,
        "num_cpus": 0,
    }
    return ray.remote(RouterHost).options(**options).remote(most_waiting, **how)


def start_engine(plan: EnginePlan, router: Any, **options: Any) -> Any:
    """An engine's actor, which lives as long as who started it and announces itself to the router once its
    model is loaded.

    Args:
        options: of the actor, such as `num_cpus`, `num_gpus`, `resources`.
    """
    ray = load_ray()
    host = ray.remote(EngineHost).options(max_concurrency=MOST_CALLS, **options).remote(plan, router)
    host.announce.remote(f"engine-{secrets.token_hex(4)}", host)
    return host


def connect(router: Any, *, resume: bool, seconds: float = _CONNECT_SECONDS) -> RemoteEngine:
    """The engines behind a router, once one of them is there. Raises Unavailable (`engine_unavailable`)."""
    ray = load_ray()
    facts: EngineFacts | None = ray.get(router.facts.remote(seconds))
    if facts is None:
        raise Unavailable(
            f"No engine has come to the cluster within {seconds:.0f} s: see `ray status`, whether there are "
            "machines for one, and the log of its actor.",
            code="engine_unavailable",
        )
    return RemoteEngine(router, facts, resume=resume)
