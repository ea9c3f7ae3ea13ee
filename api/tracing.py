"""Traces of what a request goes through, by OpenTelemetry, where the settings ask for them: names of stages
and numbers, never a word of a question or a document."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

from api.version import version
from rag.errors import Unavailable
from rag.observing import Number
from rag.settings import Settings

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

_NANOSECONDS = 1_000_000_000


class ExtraMissing(Unavailable):
    """What the settings ask for needs packages that are not installed; the message names them."""

    default_code = "extra_missing"


class Tracing:
    """Spans of one service. Nothing of it is global: two services of a process trace apart."""

    def __init__(self, provider: TracerProvider) -> None:
        from opentelemetry import trace  # noqa: PLC0415 (an extra)
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator  # noqa: PLC0415

        self._trace = trace
        self._provider = provider
        self._tracer = provider.get_tracer("longleaf", version())
        self._propagator = TraceContextTextMapPropagator()

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """A span as long as the stage, around those of what happens in it (`rag.observing.Observer`)."""
        # the text of an exception may quote what was read
        with self._tracer.start_as_current_span(
            name, record_exception=False, set_status_on_exception=False
        ) as span:
            try:
                yield
            except BaseException:
                span.set_status(self._trace.StatusCode.ERROR)
                raise

    def took(self, name: str, seconds: float, **numbers: Number) -> None:
        """A span of a stage that has just ended."""
        now = time.time_ns()
        span = self._tracer.start_span(name, start_time=now - int(seconds * _NANOSECONDS))
        span.set_attributes({f"longleaf.{key}": value for key, value in numbers.items()})
        span.end(now)

    @contextmanager
    def request(self, method: str, route: str, headers: Mapping[str, str]) -> Iterator[Any]:
        """The span of a request by its route's template, below the caller's where it names one (W3C
        `traceparent`); gives the span."""
        given = {key: headers[key] for key in ("traceparent", "tracestate") if key in headers}
        with self._tracer.start_as_current_span(
            f"{method} {route}",
            context=self._propagator.extract(given),
            kind=self._trace.SpanKind.SERVER,
            attributes={"http.request.method": method, "http.route": route},
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            yield span

    def close(self) -> None:
        """Send what is left."""
        self._provider.shutdown()


def tracing_of(settings: Settings) -> Tracing | None:
    """What the settings ask for; None where they ask for nothing. Raises ExtraMissing."""
    if settings.traces == "off":
        return None
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise ExtraMissing(
            f"LONGLEAF_TRACES is {settings.traces}, which needs the extra: pip install 'longleaf[otel]' "
            f"({error.name} is missing)"
        ) from error
    name = os.environ.get("OTEL_SERVICE_NAME", "longleaf")
    provider = TracerProvider(
        resource=Resource.create({"service.name": name, "service.version": version()}), shutdown_on_exit=False
    )
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return Tracing(provider)


def request_span(
    tracing: Tracing | None, method: str, route: str, headers: Mapping[str, str]
) -> AbstractContextManager[Any]:
    """The span of a request; gives None where nothing is traced."""
    return nullcontext() if tracing is None else tracing.request(method, route, headers)
