"""What a Prometheus reads: figures that move with the work, few series, and nobody's names."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from prometheus_client import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from api.app import create_app
from api.loaders import Loaders
from api.metrics.scraper import BadMetricsToken
from api.wiring import Service
from ingest import jobs
from rag.settings import Settings
from rag.store.session import Database
from tests.api.access_house import CANARY, house
from tests.api.conftest import problem, ready, running, until, upload, wait_for

UNITS = ("_seconds", "_bytes", "_tokens", "_total", "_info", "_ready")
COUNTED = {
    *("longleaf_documents", "longleaf_failed_documents", "longleaf_collections", "longleaf_workspaces"),
    *("longleaf_chunks", "longleaf_queue_jobs", "longleaf_queue_lost_jobs", "longleaf_ingest_threads"),
    "longleaf_webhook_messages_pending",
    *("longleaf_index_collections", "longleaf_index_chunks", "longleaf_engine_requests"),
    *("longleaf_kv_blocks", "longleaf_kv_cached_blocks", "longleaf_http_requests_in_progress"),
}
"""Gauges that count things, whose name says which."""
QUESTION = {"question": "How long is the notice period?", "mode": "answer", "max_tokens": 24}


class Scrape:
    """One look at the metrics, by the reference parser."""

    def __init__(self, client: Any) -> None:
        response = client.get("/metrics")
        assert response.status_code == 200, response.text
        assert response.headers["content-type"].startswith("text/plain")
        self.text = response.text
        self.families: list[Metric] = list(text_string_to_metric_families(response.text))

    def value(self, name: str, **labels: str) -> float:
        """The sum over all samples of that name with these labels; a failure where there is none."""
        found = [
            sample.value
            for family in self.families
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        ]
        assert found, (name, labels)
        return sum(found)

    def has(self, name: str, **labels: str) -> bool:
        return any(
            sample.name == name and labels.items() <= sample.labels.items()
            for family in self.families
            for sample in family.samples
        )


def test_figures_move_with_a_document_and_a_question(client: TestClient) -> None:
    until(lambda: client.get("/readyz").status_code == 200)
    before = Scrape(client)
    assert before.value("longleaf_part_ready", part="engine") == 1
    assert before.value("longleaf_documents", status="ready") == 0
    assert not before.has("longleaf_ingest_stage_duration_seconds_count")

    ready(client)
    read = Scrape(client)
    assert read.value("longleaf_documents", status="ready") == 1
    assert read.value("longleaf_queue_jobs", status="done") == 1
    assert read.value("longleaf_queue_jobs", status="queued") == 0
    assert read.value("longleaf_chunks") > 0
    assert read.value("longleaf_document_bytes") > 100
    assert read.value("longleaf_database_bytes") > 10_000
    assert read.value("longleaf_changes_total") == before.value("longleaf_changes_total") + 1
    assert read.value("longleaf_ingest_jobs_total", outcome="done") == 1
    for stage in ("parse", "chunk", "embed", "publish"):
        assert read.value("longleaf_ingest_stage_duration_seconds_count", stage=stage) == 1
    assert read.value("longleaf_ingest_threads") == 1

    answer = client.post("/query", json=QUESTION).json()
    asked = Scrape(client)
    assert asked.value("longleaf_answers_total", status=answer["answer_status"]) == 1
    assert asked.value("longleaf_answer_duration_seconds_count") == 1
    assert asked.value("longleaf_answer_context_tokens_sum") == answer["context"]["tokens"]
    assert asked.value("longleaf_time_to_first_token_seconds_count", work="answer") == 1
    for stage in ("embed", "dense", "lexical", "fuse"):
        assert asked.value("longleaf_retrieval_stage_duration_seconds_count", stage=stage) >= 1
    for stage in ("retrieval", "packing", "quoting", "generation"):
        assert asked.value("longleaf_answer_stage_duration_seconds_count", stage=stage) == 1
    assert asked.value("longleaf_index_chunks") == asked.value("longleaf_chunks")

    def grew(name: str) -> float:
        return asked.value(name) - read.value(name)

    usage = answer["usage"]
    assert usage["completion_tokens"] > 0
    assert grew("longleaf_engine_generated_tokens_total") == usage["completion_tokens"]
    assert grew("longleaf_engine_prompt_tokens_total") == usage["prompt_tokens"]
    assert grew("longleaf_engine_cached_prompt_tokens_total") == usage["cached_tokens"]
    assert asked.value("longleaf_kv_blocks", state="free") > 0


def test_the_bare_model_is_measured_apart(sqlite_client: TestClient) -> None:
    body = {"model": "longleaf/raw", "messages": [{"role": "user", "content": "Say hello."}], "max_tokens": 4}
    assert sqlite_client.post("/v1/chat/completions", json=body).status_code == 200
    scrape = Scrape(sqlite_client)
    assert scrape.value("longleaf_time_to_first_token_seconds_count", work="raw") == 1
    assert not scrape.has("longleaf_time_to_first_token_seconds_count", work="answer")


def test_what_failed_and_what_waits_is_seen_whoever_does_the_work(
    make_settings: Callable[..., Settings], loaders: Loaders
) -> None:
    settings = make_settings(ingest_workers=0)
    for client in running(settings, loaders):
        until(lambda: client.get("/readyz").status_code == 200)  # noqa: B023
        upload(client, "first.md", "# first")
        upload(client, "other.md", "# other")
        waiting = Scrape(client)
        assert waiting.value("longleaf_queue_jobs", status="queued") == 2
        assert waiting.value("longleaf_queue_oldest_seconds") >= 0
        assert waiting.value("longleaf_ingest_threads") == 0
        # a worker without any door of its own takes one, and is not heard of again
        db = Database(settings.resolved_database_url)
        held = jobs.lease(db, "wrk_elsewhere", seconds=-1)
        assert held is not None
        lost = Scrape(client)
        assert lost.value("longleaf_queue_jobs", status="running") == 1
        assert lost.value("longleaf_queue_lost_jobs") == 1
        taken = jobs.lease(db, "wrk_third")
        assert taken is not None
        jobs.fail(db, taken, "no_text", "there is none")
        db.dispose()
        failed = Scrape(client)
        assert failed.value("longleaf_failed_documents", code="no_text") == 1
        assert failed.value("longleaf_documents", status="failed") == 1


def test_whatever_is_asked_for_makes_no_more_series(sqlite_client: TestClient) -> None:
    until(lambda: sqlite_client.get("/readyz").status_code == 200)
    for number in range(30):
        sqlite_client.get(f"/documents/doc_{number}")
        sqlite_client.get(f"/nothing/{number}")
        sqlite_client.request(f"VERB{number}", "/documents")
        sqlite_client.get("/healthz", headers={"Host": f"evil{number}.example"})
    scrape = Scrape(sqlite_client)
    labels = Counter(
        (sample.labels["method"], sample.labels["route"])
        for family in scrape.families
        for sample in family.samples
        if sample.name == "longleaf_http_requests_total"
    )
    assert set(labels) >= {("GET", "/documents/{id}"), ("GET", "unmatched"), ("OTHER", "/documents")}
    assert len(labels) < 8, labels
    known = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "OTHER"}
    assert {method for method, _ in labels} <= known
    assert scrape.value("longleaf_http_requests_total", route="/documents/{id}", status="404") == 30
    assert scrape.value("longleaf_http_requests_total", route="/healthz", status="400") == 30
    assert "doc_7" not in scrape.text
    assert "evil" not in scrape.text


def test_names_and_units_are_prometheus_own(sqlite_client: TestClient) -> None:
    ready(sqlite_client)
    sqlite_client.post("/query", json=QUESTION)
    scrape = Scrape(sqlite_client)
    ours = [family for family in scrape.families if family.name.startswith("longleaf_")]
    assert len(ours) > 40
    for family in ours:
        assert family.documentation.endswith("."), family.name
        if family.type == "counter":
            assert all(sample.name.endswith(("_total", "_created")) for sample in family.samples)
        elif not family.name.endswith("_created"):
            assert family.name.endswith(UNITS) or family.name in COUNTED, family.name
    assert scrape.value("process_resident_memory_bytes") > 0


def test_openmetrics_where_it_is_asked_for(sqlite_client: TestClient) -> None:
    response = sqlite_client.get(
        "/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"}
    )
    assert response.headers["content-type"].startswith("application/openmetrics-text")
    assert any(family.name == "longleaf_http_requests" for family in openmetrics(response.text))


def test_a_store_that_is_gone_hides_nothing_else(
    make_settings: Callable[..., Settings], loaders: Loaders
) -> None:
    settings = make_settings()
    for client in running(settings, loaders):
        until(lambda: client.get("/readyz").status_code == 200)  # noqa: B023
        (settings.data_dir / "longleaf.db").rename(settings.data_dir / "away")
        client.app.state.service.db.dispose()  # type: ignore[attr-defined]
        scrape = Scrape(client)
        (settings.data_dir / "away").rename(settings.data_dir / "longleaf.db")
        assert scrape.value("longleaf_part_ready", part="database") == 0
        assert scrape.value("longleaf_scrape_failures_total", source="store") == 1
        assert scrape.has("longleaf_engine_requests")
        assert not scrape.has("longleaf_documents")


def test_two_services_of_one_process_count_apart(
    make_settings: Callable[..., Settings], loaders: Loaders, tmp_path: Path
) -> None:
    for one in running(make_settings(), loaders):
        for other in running(make_settings(data_dir=tmp_path / "other"), loaders):
            one.get("/version")
            assert Scrape(one).has("longleaf_http_requests_total", route="/version")
            assert not Scrape(other).has("longleaf_http_requests_total", route="/version")


@pytest.mark.timeout(600)
def test_who_may_read_them_and_that_they_tell_nobodys_names(
    database_url: str, make_settings: Callable[..., Settings], loaders: Loaders, tmp_path: Path
) -> None:
    file = tmp_path / "token"
    file.write_text("0123456789abcdef0123\n")
    settings = make_settings(database_url=database_url, auth="on", metrics_token_file=str(file))
    with house(settings, loaders) as found:
        for who in ("reader", "editor", "manager", "admin", "stranger"):
            problem(found.clients[who].get("/metrics"), 403, "forbidden")
        problem(found.clients["nobody"].get("/metrics"), 401, "unauthenticated")
        failed = upload(found.clients["admin"], f"{CANARY}.bin", b"\x00\x01" * 64, collection="mill")
        wait_for(found.clients["admin"], failed["id"])
        text = Scrape(found.clients["operator"]).text
        # neither words nor ids: of documents, collections, keys, people, workspaces
        assert CANARY not in text
        assert "mill" not in text
        for name in (*found.workspaces.values(), found.user_id, found.document["id"], found.answer_id):
            assert name not in text
        assert "acme" not in text

        scraper = TestClient(
            found.app,
            raise_server_exceptions=False,
            headers={"Authorization": f"Bearer {file.read_text().strip()}"},
        )
        assert Scrape(scraper).value("longleaf_workspaces") == 3
        # the token opens this one door
        for path in ("/documents", "/users", "/workspaces", "/version", "/me", "/metrics/"):
            assert scraper.get(path).status_code in {401, 404}, path
        assert scraper.post("/metrics").status_code == 401
        # it is exchanged without a restart; a file that is gone lets nobody in
        file.write_text("another-token-of-length")
        problem(scraper.get("/metrics"), 401, "invalid_key")
        fresh = {"Authorization": "Bearer another-token-of-length"}
        assert found.clients["nobody"].get("/metrics", headers=fresh).status_code == 200
        file.unlink()
        problem(found.clients["nobody"].get("/metrics", headers=fresh), 401, "invalid_key")


@pytest.mark.parametrize("content", [None, "", "short", "two words in one token"])
def test_a_token_that_can_not_be_used_stops_the_start(
    make_settings: Callable[..., Settings], tmp_path: Path, content: str | None
) -> None:
    file = tmp_path / "token"
    if content is not None:
        file.write_text(content)
    settings = make_settings(metrics_token_file=str(file))
    with pytest.raises(BadMetricsToken, match="LONGLEAF_METRICS_TOKEN_FILE"):
        create_app(settings, Service(settings))


def test_every_figure_is_documented_with_its_labels(
    make_settings: Callable[..., Settings], loaders: Loaders
) -> None:
    # the real engine of the settings, with both tiers of its cache
    own = Loaders(embedder=loaders.embedder)
    for client in running(make_settings(kv_memory_bytes=10_000_000), own):
        ready(client)
        client.post("/query", json=QUESTION)
        until(lambda: client.get("/readyz").status_code == 200)  # noqa: B023
        scrape = Scrape(client)
    page = (Path(__file__).parents[2] / "docs" / "operations.md").read_text("utf-8")
    rows = re.findall(r"(?m)^\| `(longleaf_\w+)` \| (.*?) \|", page)
    written = {name: set(re.findall(r"`(\w+)`", labels)) for name, labels in rows}
    shown: dict[str, set[str]] = {}
    for family in scrape.families:
        if not family.name.startswith("longleaf_") or family.name.endswith("_created"):
            continue
        name = f"{family.name}_total" if family.type == "counter" else family.name
        shown[name] = {label for sample in family.samples for label in sample.labels} - {"le"}
    assert set(written) == set(shown)
    assert {name: labels for name, labels in shown.items() if labels - written[name]} == {}
    assert scrape.value("longleaf_kv_tier_limit_bytes", tier="memory") == 10_000_000
