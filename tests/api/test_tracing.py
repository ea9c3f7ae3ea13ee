"""Traces of a real question: which spans there are, below which, and that none has anybody's words."""

from __future__ import annotations

import gzip
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from fastapi.testclient import TestClient
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from api.app import create_app
from api.loaders import Loaders
from api.tracing import Tracing
from api.wiring import Service
from rag.errors import Unavailable
from rag.observing import NOBODY
from rag.settings import Settings
from tests.api.conftest import ready, running, until

SECRET = "zyxquicksilver"
TEXT = f"# The {SECRET} lease\n\nEither side may end it with a notice period of fourteen months, in writing."
QUESTION = {"question": f"How long is the {SECRET} notice period?", "mode": "answer", "max_tokens": 16}
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    """Where spans go instead of to a collector."""
    return InMemorySpanExporter()


@pytest.fixture
def client(
    exporter: InMemorySpanExporter, make_settings: Callable[..., Settings], loaders: Loaders
) -> Iterator[TestClient]:
    """A service that traces."""
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    settings = make_settings()
    app = create_app(settings, Service(settings, loaders, Tracing(provider)))
    with TestClient(app, raise_server_exceptions=False) as found:
        until(lambda: found.get("/readyz").status_code == 200)
        yield found


def by_name(exporter: InMemorySpanExporter) -> dict[str, ReadableSpan]:
    return {span.name: span for span in exporter.get_finished_spans()}


def test_a_question_s_whole_way(client: TestClient, exporter: InMemorySpanExporter) -> None:
    ready(client, f"{SECRET}.md", TEXT)
    exporter.clear()
    answer = client.post(
        "/query",
        json=QUESTION,
        headers={"traceparent": f"00-{TRACE}-{PARENT}-01", "X-Request-ID": "mine-1"},
    )
    assert answer.json()["answer_status"] == "answered", answer.text
    spans = by_name(exporter)
    request = spans["POST /query"]
    assert f"{request.context.trace_id:032x}" == TRACE
    assert request.parent is not None
    assert f"{request.parent.span_id:016x}" == PARENT
    assert request.attributes is not None
    assert dict(request.attributes) == {
        "http.request.method": "POST",
        "http.route": "/query",
        "http.response.status_code": 200,
        "longleaf.request_id": "mine-1",
    }
    for name in ("retrieve", "pack", "quote", "verify", "prefill", "answer"):
        assert spans[name].parent is not None, name
        assert spans[name].parent.span_id == request.context.span_id, name
    for name in ("embed", "dense", "lexical", "fuse"):
        assert spans[name].parent.span_id == spans["retrieve"].context.span_id, name
    # one after the other, inside the request
    order = [spans[name].end_time for name in ("retrieve", "pack", "verify", "quote", "prefill", "answer")]
    assert order == sorted(order)
    assert all(request.start_time <= span.start_time <= span.end_time for span in spans.values())
    assert spans["prefill"].attributes == {"longleaf.tokens": answer.json()["usage"]["prompt_tokens"]}
    assert SECRET not in "".join(span.to_json() for span in exporter.get_finished_spans())


def test_requests_of_every_kind_tell_templates_alone(
    client: TestClient, exporter: InMemorySpanExporter
) -> None:
    exporter.clear()
    client.get(f"/documents/{SECRET}")
    client.get(f"/nothing/{SECRET}")
    client.post("/query", json={"question": SECRET, "collection": SECRET})
    client.get("/healthz", headers={"traceparent": "no such thing"})
    spans = by_name(exporter)
    assert {"GET /documents/{id}", "GET unmatched", "POST /query", "GET /healthz"} <= set(spans)
    assert spans["GET /documents/{id}"].attributes["http.response.status_code"] == 404  # type: ignore[index]
    assert SECRET not in "".join(span.to_json() for span in exporter.get_finished_spans())


def test_a_stream_is_one_trace(client: TestClient, exporter: InMemorySpanExporter) -> None:
    ready(client, f"{SECRET}.md", TEXT)
    exporter.clear()
    assert "event: done" in client.post("/query", json={**QUESTION, "stream": True}).text
    spans = exporter.get_finished_spans()
    assert len({span.context.trace_id for span in spans}) == 1
    assert {"POST /query", "retrieve", "answer"} <= {span.name for span in spans}


def test_without_the_setting_nothing_is_loaded_or_made() -> None:
    program = (
        "import sys; from api.wiring import Service; from rag.settings import Settings;"
        "service = Service(Settings(_env_file=None, data_dir='/tmp/unused-by-this-test'));"
        "assert service.tracing is None;"
        "assert not [name for name in sys.modules if name.startswith('opentelemetry.sdk')]"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
    with NOBODY.stage("retrieve"):
        assert NOBODY.stage("pack") is NOBODY.stage("quote"), "a context is made for nobody"


@pytest.fixture
def collector() -> Iterator[tuple[str, list[bytes]]]:
    """Something that takes OTLP over HTTP: its address, and the bodies that came."""
    came: list[bytes] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.path == "/v1/traces"
            body = self.rfile.read(int(self.headers["Content-Length"]))
            came.append(gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", came
    server.shutdown()
    thread.join()
    server.server_close()


def test_spans_reach_a_collector(
    collector: tuple[str, list[bytes]],
    make_settings: Callable[..., Settings],
    loaders: Loaders,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    address, came = collector
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", address)
    monkeypatch.setenv("OTEL_SERVICE_NAME", "our-longleaf")
    for client in running(make_settings(traces="otlp"), loaders):
        assert client.get("/healthz").status_code == 200
    # the stop of the service sends what is left
    found = [ExportTraceServiceRequest.FromString(body).resource_spans[0] for body in came]
    names = {span.name for each in found for scope in each.scope_spans for span in scope.spans}
    assert "GET /healthz" in names
    resource = {pair.key: pair.value.string_value for pair in found[0].resource.attributes}
    assert resource["service.name"] == "our-longleaf"


def test_without_the_extra_the_start_says_what_to_install(
    make_settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with pytest.raises(Unavailable, match=r"longleaf\[otel\]"):
        Service(make_settings(traces="otlp"))
