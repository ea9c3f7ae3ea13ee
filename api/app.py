"""The HTTP application: routes, errors and what stands before them, around one `Service`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from fastapi.routing import RouteContext
from starlette.concurrency import run_in_threadpool

from api import errors, openapi, pages, reference
from api.access import Need, declared, is_public, template_in
from api.admission import Admission, Door
from api.auditing import Auditing
from api.authentication import Authentication
from api.limiting import Limiting
from api.metrics.scraper import token_of
from api.middleware import BodyLimit, HostAndOrigin, RequestFrame
from api.multipart import OVERHEAD_BYTES
from api.parameters import ONLY_KNOWN
from api.routes import (
    answers,
    audit,
    collections,
    conversations,
    documents,
    feedback,
    health,
    keys,
    mcp,
    members,
    metrics,
    oidc,
    openai,
    operations,
    pictures,
    query,
    reading,
    search,
    sending,
    session,
    uploads,
    users,
    watching,
    webhooks,
    workspaces,
)
from api.version import version
from api.wiring import Service
from rag.settings import Settings

ROOMS = (
    sending,
    uploads,
    documents,
    watching,
    reading,
    pictures,
    query,
    answers,
    feedback,
    conversations,
    search,
    collections,
    openai,
    mcp,
    keys,
    members,
    users,
    workspaces,
    webhooks,
    session,
    oidc,
    audit,
    health,
    operations,
    metrics,
)

FREE = (openai, mcp, oidc)
"""Rooms whose clients are other people's programs, or come from them, and may add what is theirs."""


def create_worker_app(settings: Settings, service: Service) -> FastAPI:
    """Return the application of a process that only takes jobs: health, readiness and metrics.

    Its lifespan starts and stops the worker. Raises BadMetricsToken.
    """
    token_of(settings)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await run_in_threadpool(service.start_worker)
        try:
            yield
        finally:
            await run_in_threadpool(service.stop)

    app = FastAPI(
        title="Longleaf's worker",
        version=version(),
        lifespan=lifespan,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
    )
    app.state.service = service
    errors.install(app)
    for room in (health, metrics):
        app.include_router(room.router, dependencies=[ONLY_KNOWN])
    _frame(app, service, declared(app))
    return app


def create_app(settings: Settings, service: Service | None = None) -> FastAPI:
    """Return the application; its lifespan starts and stops `service`, by default one made from `settings`.

    It answers at once; requests that need a model wait until it is loaded. Starting raises Unmigrated or
    Unavailable where the database can't be used. Raises BadMetricsToken.
    """
    token_of(settings)
    owned = service or Service(settings)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        await run_in_threadpool(owned.start)
        try:
            async with mcp.running(app):
                yield
        finally:
            await run_in_threadpool(owned.stop)

    app = FastAPI(
        title="Longleaf",
        version=version(),
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.service = owned
    errors.install(app)
    openapi.install(app, keys=settings.auth == "on")
    for room in ROOMS:
        app.include_router(room.router, dependencies=[] if room in FREE else [ONLY_KNOWN])
    app.include_router(reference.router)
    pages.install(app)
    routes = declared(app)
    # the last one added is the first to see a request
    app.add_middleware(BodyLimit, max_upload_bytes=settings.max_upload_bytes + OVERHEAD_BYTES)
    if owned.auditor is not None:
        app.add_middleware(Auditing, auditor=owned.auditor)
        app.add_middleware(Limiting, service=owned, public=is_public(routes))
    app.add_middleware(Admission, service=owned)
    _frame(app, owned, routes)
    return app


def _frame(app: FastAPI, service: Service, routes: list[tuple[RouteContext, Need]]) -> None:
    """What stands before everything else; the last one added is the first to see a request."""
    app.add_middleware(Authentication, service=service, public=is_public(routes))
    app.add_middleware(Door, service=service)
    app.add_middleware(HostAndOrigin, settings=service.settings)
    app.add_middleware(
        RequestFrame,
        metrics=service.metrics,
        template=template_in(routes),
        tracing=service.tracing,
        leaving=service.leaving,
    )
