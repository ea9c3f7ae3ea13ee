"""The service as deployments of Ray Serve: API, engines and retrieval, each with as many replicas as it
needs.

A replica of `engine` owns an actor with a model; prompts do not go through Serve but from an API process to
the actor that the router chose (docs/decisions/0517-engines-are-chosen-by-a-router.md).
"""

from __future__ import annotations

import asyncio
from typing import Any

from api.cluster.engine_facts import EnginePlan
from api.cluster.engine_ray import connect, start_engine, the_router
from api.cluster.engine_remote import RemoteEngine
from api.cluster.joining import load_ray
from api.cluster.rank_room import spread_of
from api.cluster.serve_scaling import METRIC
from api.cluster.serve_search import RemoteSearch
from rag.settings import Settings

APP = "longleaf"
HEALTH_SECONDS = 20.0


class EngineReplica:
    """Owns one engine: it is there while this is, and this is unhealthy when it is not."""

    def __init__(self, settings: Settings) -> None:
        """Start the actor and wait until its model is loaded. Raises as `Engine.load`."""
        ray = load_ray()
        self._router = the_router(settings.cluster_waiting_tokens)
        processes, stages = settings.model_processes, settings.model_stages
        spread = spread_of(ray.nodes(), settings.device, processes, stages)
        gpus = processes if settings.device.startswith("cuda") and spread is None else 0
        self._host = start_engine(EnginePlan.of(settings, spread), self._router, num_cpus=0, num_gpus=gpus)
        ray.get(self._host.stats.remote())

    async def check_health(self) -> None:
        """Serve replaces the replica when this raises."""
        await asyncio.wait_for(self._host.check.remote(), HEALTH_SECONDS)

    async def record_autoscaling_stats(self) -> dict[str, float]:
        """What `WaitingTokens` decides by."""
        state = await self._router.state.remote()
        return {METRIC: float(state["waiting_tokens"])}


class RetrievalReplica:
    """Holds the indexes, and searches them."""

    def __init__(self, settings: Settings) -> None:
        """Open the store; indexes are built or loaded at the first search of each collection."""
        from api.wiring import Service  # noqa: PLC0415

        self._service = Service(settings)
        self._service.start(ingest=False, engine=False)
        self._service.retriever.wait()

    async def look(self, question: str, scope: Any, top_k: int) -> Any:
        """As `Retriever.look`."""
        return await asyncio.to_thread(self._service.retriever.wait().look, question, scope, top_k)


def application(settings: Settings) -> Any:
    """What `serve.run` takes. Each process reads the same database and data folder."""
    load_ray()
    from ray.serve.config import AutoscalingConfig  # noqa: PLC0415

    serve: Any = _serve()

    least, most = settings.cluster_engines, max(settings.cluster_engines, settings.cluster_most_engines)
    policy = {
        "policy_function": "api.cluster.serve_scaling:WaitingTokens",
        "policy_kwargs": {"target": settings.cluster_waiting_tokens},
    }
    engines = serve.deployment(EngineReplica).options(
        name="engine",
        autoscaling_config=AutoscalingConfig.model_validate(
            {"min_replicas": least, "max_replicas": most, "policy": policy}
        ),
        health_check_timeout_s=2 * HEALTH_SECONDS,
    )
    retrieval = serve.deployment(RetrievalReplica).options(name="retrieval", max_ongoing_requests=16)

    def build() -> Any:
        from api.app import create_app  # noqa: PLC0415
        from api.loaders import Loaders  # noqa: PLC0415
        from api.wiring import Service  # noqa: PLC0415

        loaders = Loaders(engine=remote_engine, search=remote_search)
        return create_app(settings, Service(settings, loaders))

    api = serve.deployment(serve.ingress(build)()).options(name="api", max_ongoing_requests=1000)
    return api.bind(engines.bind(settings), retrieval.bind(settings))


def _serve() -> Any:
    from ray import serve  # noqa: PLC0415

    return serve


def build(arguments: dict[str, Any]) -> Any:
    """The application of a Serve configuration file (`import_path: api.cluster.serve_app:build`); `args` are
    settings by their names in small letters, and win over the variables of the environment."""
    return application(Settings(**arguments))


def remote_engine(settings: Settings) -> RemoteEngine:
    """The engines of the cluster that this process is in. Raises Unavailable (`engine_unavailable`)."""
    return connect(the_router(settings.cluster_waiting_tokens), resume=settings.cluster_resume)


def remote_search(_: Settings) -> RemoteSearch:
    """The retrieval of the application that this process is in."""
    return RemoteSearch(_serve().get_deployment_handle("retrieval", app_name=APP))
