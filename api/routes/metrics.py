"""Metrics, for a Prometheus."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from prometheus_client.exposition import choose_encoder

from api.access import Operates
from api.metrics.scraper import METRICS_PATH

router = APIRouter(tags=["operations"])


@router.get(
    METRICS_PATH,
    summary="Metrics for Prometheus",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
)
def metrics(request: Request, service: Operates) -> Response:
    """Counters, gauges and histograms of this process and its store, in Prometheus' text format, or as
    OpenMetrics where that is asked for. No label names a document, a question, a person or a workspace."""
    encode, media_type = choose_encoder(request.headers.get("accept", ""))
    return Response(encode(service.metrics.registry), headers={"Content-Type": media_type})
