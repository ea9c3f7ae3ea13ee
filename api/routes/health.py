"""Health, readiness and versions."""

from __future__ import annotations

from fastapi import APIRouter, Response

from api import schemas
from api.access import PUBLIC, Anyone, Reads
from api.version import version
from rag.store.migrate import head_revision

router = APIRouter(tags=["operations"])


@router.get("/healthz", response_model=schemas.Health, summary="Is the process alive?", dependencies=[PUBLIC])
async def healthz() -> schemas.Health:
    """Answers as long as the process can."""
    return schemas.Health()


@router.get(
    "/readyz",
    response_model=schemas.Readiness,
    summary="Is everything ready?",
    responses={503: {"model": schemas.Readiness, "description": "Something is missing; `checks` says what."}},
)
def readyz(service: Anyone, response: Response) -> schemas.Readiness:
    """Which parts are ready. Requests that need a part which is still loading wait for it."""
    checks = service.checks()
    ready = all(state == "ok" for state in checks.values())
    if service.principal is None:  # reasons name paths and servers
        known = {"ok", "loading", "stopped", "stopping"}
        checks = {part: state if state in known else "not ready" for part, state in checks.items()}
    if not ready:
        response.status_code = 503
    return schemas.Readiness(ready=ready, checks=checks)


@router.get("/version", response_model=schemas.Version, summary="Versions")
def versions(service: Reads) -> schemas.Version:
    """Versions of the service, its schema and its models."""
    engine, embedder = service.engine.now(), service.embedder.now()
    return schemas.Version(
        version=version(),
        schema_revision=head_revision(),
        model=engine.fingerprint if engine else None,
        embedder=embedder.fingerprint if embedder else None,
    )
