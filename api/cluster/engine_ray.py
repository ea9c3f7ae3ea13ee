"""The router and the engines of a cluster, found or started."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from contextlib import suppress
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
CONNECT_SECONDS = 600.0
"""How long who needs an engine waits for the first one."""


def the_router(most_waiting: int, version: str = "", **how: Any) -> Any:
    """The router's actor of this cluster, or of a version of the service on it, started where it is missing.
    It outlives who started it, and is started anew where its node is lost. Others as of `RouterHost`."""
    ray = load_ray()
    options = {
        "name": _name(version),
        "namespace": NAMESPACE,
        "get_if_exists": True,
        "lifetime": "detached",
        "max_restarts": -1,
        "max_concurrency": MOST_CALLS,
        "num_cpus": 0,
    }
    return ray.remote(RouterHost).options(**options).remote(most_waiting, **how)


def routers() -> dict[str, Any]:
    """The actors of all routers of this cluster, by version."""
    ray, found = load_ray(), {}
    for entry in ray.util.list_named_actors(all_namespaces=True):
        kind, _, version = str(entry["name"]).partition(":")
        if entry["namespace"] == NAMESPACE and kind == ROUTER:
            with suppress(ValueError):  # it has ended since
                found[version] = ray.get_actor(entry["name"], namespace=NAMESPACE)
    return found


def end_routers(but: str | None = None) -> None:
    """End the routers of all versions, or of all others than one."""
    ray = load_ray()
    for version, router in routers().items():
        if version != but:
            ray.kill(router)


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


def connect(
    router: Any,
    *,
    resume: bool,
    seconds: float = CONNECT_SECONDS,
    elsewhere: Callable[[], dict[str, Any]] = dict,
) -> RemoteEngine:
    """The engines behind a router, once one of them is there; `elsewhere` as of `RemoteEngine`.

    Raises Unavailable (`engine_unavailable`).
    """
    ray = load_ray()
    facts: EngineFacts | None = ray.get(router.facts.remote(seconds))
    if facts is None:
        raise Unavailable(
            f"No engine has come to the cluster within {seconds:.0f} s: see `ray status`, whether there are "
            "machines for one, and the log of its actor.",
            code="engine_unavailable",
        )
    return RemoteEngine(router, facts, resume=resume, elsewhere=elsewhere)


def _name(version: str) -> str:
    return f"{ROUTER}:{version}"
