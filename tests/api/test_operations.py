"""What an operator asks: health, readiness, versions, the reference; and how errors look everywhere."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from typing import cast

from fastapi.testclient import TestClient

from api.app import create_app
from api.loaders import Loaders
from api.wiring import Service
from model import Engine, EngineDeadError
from rag.settings import Settings
from tests.api.conftest import problem, ready, until, upload, wait_for


def test_healthy_ready_and_which_version(client: TestClient) -> None:
    assert client.get("/healthz").json() == {"status": "ok"}
    until(lambda: client.get("/readyz").status_code == 200)
    assert client.get("/readyz").json()["checks"] == dict.fromkeys(
        ("database", "schema", "embedder", "engine", "worker"), "ok"
    )
    version = client.get("/version").json()
    assert version["name"] == "longleaf"
    assert re.fullmatch(r"\d+\.\d+\.\d+\S*", version["version"])
    assert version["model"]
    assert version["embedder"]


def test_what_is_going_on_is_what_the_metrics_say(client: TestClient) -> None:
    ready(client)
    upload(client, "empty.txt", "")
    until(lambda: "failed" in client.get("/operations").json()["store"]["documents"])
    asked = {"question": "How long is the notice period?", "mode": "answer", "max_tokens": 8}
    client.post("/query", json=asked).raise_for_status()
    until(lambda: client.get("/readyz").status_code == 200)
    now = client.get("/operations").json()
    metrics = {
        name: float(value)
        for name, value in re.findall(r"^(longleaf_[^ ]+) (\S+)$", client.get("/metrics").text, re.M)
    }
    assert now["checks"] == client.get("/readyz").json()["checks"]
    assert (now["version"], now["embedder"]) == tuple(
        client.get("/version").json()[each] for each in ("version", "embedder")
    )
    assert now["store"]["documents"] == {"ready": 1, "failed": 1}
    assert now["store"]["failed"] == {"empty": 1}
    for name, value in {
        'longleaf_queue_jobs{status="done"}': now["queue"]["jobs"]["done"],
        "longleaf_ingest_threads": now["queue"]["threads"],
        "longleaf_chunks": now["store"]["chunks"],
        "longleaf_document_bytes": now["store"]["bytes"],
        "longleaf_index_chunks": now["index"]["chunks"],
        "longleaf_data_disk_bytes": now["disk"]["total_bytes"],
        'longleaf_kv_blocks{state="free"}': now["engine"]["blocks_free"],
        "longleaf_engine_prompt_tokens_total": now["engine"]["prompt_tokens"],
        "longleaf_engine_generated_tokens_total": now["engine"]["new_tokens"],
    }.items():
        assert metrics[name] == value, name
    assert now["index"]["chunks"] > 0
    assert now["engine"]["prompt_tokens"] > 0


def test_readiness_says_what_is_missing(make_settings: Callable[..., Settings], loaders: Loaders) -> None:
    held = threading.Event()

    def slow(settings: Settings) -> Engine:
        held.wait(60)
        return loaders.engine(settings)

    settings = make_settings()
    app = create_app(settings, Service(settings, Loaders(embedder=loaders.embedder, engine=slow)))
    with TestClient(app, raise_server_exceptions=False) as client:
        missing = client.get("/readyz")
        assert missing.status_code == 503
        assert missing.json()["ready"] is False
        assert missing.json()["checks"]["engine"] != "ok"
        assert client.get("/healthz").status_code == 200
        assert wait_for(client, upload(client)["id"])["status"] == "ready"
        held.set()


def test_a_model_that_cannot_be_loaded_is_named(
    make_settings: Callable[..., Settings], loaders: Loaders
) -> None:
    settings = make_settings(model="/nowhere/model.gguf")
    app = create_app(settings, Service(settings, Loaders(embedder=loaders.embedder)))
    with TestClient(app, raise_server_exceptions=False) as client:
        body = problem(client.post("/query", json={"question": "why?"}), 503, "engine_unavailable")
        assert "/nowhere/model.gguf" in body["detail"]
        assert "/nowhere/model.gguf" in client.get("/readyz").json()["checks"]["engine"]


def test_a_model_that_has_failed_for_good_is_not_ready(
    make_settings: Callable[..., Settings], loaders: Loaders
) -> None:
    class Failed:
        failure = EngineDeadError("rank 1 of 2 was killed by SIGKILL")
        fingerprint = "0" * 64

    settings = make_settings()
    broken = Loaders(embedder=loaders.embedder, engine=lambda _: cast(Engine, Failed()))
    app = create_app(settings, Service(settings, broken))
    with TestClient(app, raise_server_exceptions=False) as client:
        until(lambda: "rank 1 of 2" in client.get("/readyz").json()["checks"]["engine"])
        assert client.get("/readyz").status_code == 503


def test_page_and_reference_ask_no_other_machine(sqlite_client: TestClient) -> None:
    for path in ("/", "/docs"):
        page = sqlite_client.get(path)
        assert page.headers["content-type"].startswith("text/html")
        links = re.findall(r"""(?:src|href)=["']([^"'#]+)""", page.text)
        assert links
        for link in links:
            assert not re.match(r"(?:[a-z]+:)?//", link), link
            assert sqlite_client.get(link if link.startswith("/") else f"/{link}").status_code == 200, link
        assert "https://" not in re.sub(r"<a [^>]*>", "", page.text)


def test_every_error_is_a_problem_document(sqlite_client: TestClient) -> None:
    problem(sqlite_client.get("/nothing/here"), 404, "not_found")
    refused = sqlite_client.put("/query")
    assert "POST" in refused.headers["allow"]
    problem(refused, 405, "method_not_allowed")
    problem(
        sqlite_client.post("/query", content="{", headers={"Content-Type": "application/json"}),
        400,
        "malformed_json",
    )
    problem(sqlite_client.post("/documents", json={}), 415, "unsupported_media_type")
    problem(sqlite_client.get("/documents/doc_1"), 404, "document_not_found")
    problem(sqlite_client.get("/healthz", headers={"Host": "evil.example"}), 400, "host_not_allowed")
    problem(
        sqlite_client.post("/query", json={"question": "?"}, headers={"Origin": "https://evil.example"}),
        403,
        "cross_origin",
    )
