"""The service as deployments of Ray Serve: API, engines and retrieval, each with as many replicas as it
needs.

A replica of `engine` owns an actor with a model; prompts do not go through Serve but from an API process to
the actor that the router chose (docs/decisions/0517-engines-are-chosen-by-a-router.md).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from api.cluster.engine_facts import EnginePlan
from api.cluster.engine_ray import CONNECT_SECONDS, connect, routers, start_engine, the_router
from api.cluster.engine_remote import RemoteEngine
from api.cluster.joining import load_ray
from api.cluster.rank_room import spread_of
from api.cluster.serve_scaling import METRIC
from api.cluster.serve_search import SEARCH_SECONDS, RemoteSearch
from api.cluster.serve_version import API, APP, has_others, is_replaced, overview, version_of
from rag.settings import Settings

if TYPE_CHECKING:
    from fastapi import FastAPI

    from api.wiring import Service

HEALTH_SECONDS = 20.0


class EngineReplica:
    """Owns one engine: it is there while this is, and this is unhealthy when it is not."""

    def __init__(self, settings: Settings, version: str) -> None:
        """Start the actor and wait until its model is loaded. Raises as `Engine.load`."""
        ray = load_ray()
        self._router = the_router(settings.cluster_waiting_tokens, version)
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

    async def __del__(self) -> None:
        """Serve awaits this before it ends the replica: what the engine has begun is written to its end, and
        while no other engine of this version is there, so is what API processes of this version still ask."""
        if not hasattr(self, "_host"):
            return
        idle = 0
        while idle < 2:  # who was sent here a moment ago has come by the second look
            under_way, replaced = await self._host.retire.remote()
            needed = under_way or not (replaced or not is_replaced(await asyncio.to_thread(overview)))
            idle = 0 if needed else idle + 1
            await asyncio.sleep(0.5)
        await self._host.leave.remote()


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


def application(settings: Settings, version: str) -> Any:
    """What `serve.run` takes. Each process reads the same database and data folder.

    A version's processes of API and engines know each other alone. A new one comes up beside the one before,
    whose processes end once they have answered what they were asked.
    """
    load_ray()
    from ray.serve.config import AutoscalingConfig  # noqa: PLC0415

    serve: Any = _serve()

    surge = 100 if settings.cluster_surge else 0
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
        graceful_shutdown_timeout_s=2 * settings.cluster_drain_seconds,  # the API's may come first
        max_surge_percent=surge,
    )
    retrieval = serve.deployment(RetrievalReplica).options(
        name="retrieval",
        max_ongoing_requests=16,
        graceful_shutdown_timeout_s=SEARCH_SECONDS,
        max_surge_percent=surge,
    )

    def build() -> Any:
        from api.app import create_app  # noqa: PLC0415
        from api.loaders import Loaders  # noqa: PLC0415
        from api.wiring import Service  # noqa: PLC0415

        loaders = Loaders(engine=remote_engine, search=remote_search)
        service = Service(settings, loaders)
        return _beside_others(create_app(settings, service), service)

    def remote_engine(_: Settings) -> RemoteEngine:
        return engine_of(settings, version)

    api = serve.deployment(serve.ingress(build)()).options(
        name=API,
        max_ongoing_requests=1000,
        graceful_shutdown_timeout_s=settings.cluster_drain_seconds,
        max_surge_percent=surge,
    )
    return api.bind(engines.bind(settings, version), retrieval.bind(settings))


def _beside_others(app: FastAPI, service: Service) -> FastAPI:
    """The application, which is not taken for started before its models are there, where others answer
    meanwhile: what can't be loaded never replaces what works."""
    inner = app.router.lifespan_context

    def wait() -> None:
        if has_others(overview()):
            service.retriever.wait(CONNECT_SECONDS)
            service.engine.wait(CONNECT_SECONDS)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[Any]:
        async with inner(app) as state:
            await asyncio.to_thread(wait)
            yield state

    app.router.lifespan_context = lifespan
    return app


def _serve() -> Any:
    from ray import serve  # noqa: PLC0415

    return serve


def build(arguments: dict[str, Any]) -> Any:
    """The application of a Serve configuration file (`import_path: api.cluster.serve_app:build`); `args` are
    settings by their names in small letters, and win over the variables of the environment."""
    settings = Settings(**arguments)
    return application(settings, version_of(settings))


def engine_of(settings: Settings, version: str) -> RemoteEngine:
    """The engines of a version. Raises Unavailable (`engine_unavailable`)."""

    def elsewhere() -> dict[str, Any]:
        return {other: router for other, router in routers().items() if other != version}

    router = the_router(settings.cluster_waiting_tokens, version)
    return connect(router, resume=settings.cluster_resume, elsewhere=elsewhere)


def remote_search(_: Settings) -> RemoteSearch:
    """The retrieval of the application that this process is in."""
    return RemoteSearch(_serve().get_deployment_handle("retrieval", app_name=APP))
