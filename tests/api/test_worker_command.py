"""`longleaf worker` reads what a server takes in that reads nothing itself; it shows its health alone."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.api.conftest import ready, until
from tests.api.test_rolling_restart import START_SECONDS, Server, free_port, own

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@contextmanager
def worker(server: Server) -> Iterator[tuple[subprocess.Popen[bytes], httpx.Client]]:
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "api", "worker", "--port", str(port)],
        env=server.environment | {"LONGLEAF_INGEST_WORKERS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            yield process, client
    finally:
        process.kill()
        process.wait(60)


def _ready(client: httpx.Client) -> bool:
    try:
        return client.get("/readyz").status_code == 200
    except httpx.HTTPError:
        return False


def test_a_worker_of_its_own(tmp_path: Path) -> None:
    with (
        Server(tmp_path / "data", LONGLEAF_INGEST_WORKERS="0") as server,
        worker(server) as (process, health),
        httpx.Client(base_url=f"http://127.0.0.1:{server.port}", timeout=120) as client,
    ):
        until(lambda: _ready(health), START_SECONDS)
        assert set(health.get("/readyz").json()["checks"]) == {"database", "schema", "embedder", "worker"}
        ready(client)
        results = client.post("/search", json={"query": "yearly rent"}).json()["results"]
        assert any("41,300" in each["text"] for each in results)
        assert 'longleaf_ingest_jobs_total{outcome="done"} 1.0' in health.get("/metrics").text
        assert "longleaf_ingest_jobs_total{" not in client.get("/metrics").text
        for path in ("/documents", "/", "/docs", "/openapi.json", "/v1/models"):
            assert health.get(path).status_code == 404, path
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) in {0, -signal.SIGTERM}


def test_a_worker_without_threads_is_refused(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "api", "worker"],
        env=own({"LONGLEAF_DATA_DIR": str(tmp_path), "LONGLEAF_INGEST_WORKERS": "0"}),
        cwd=Path(__file__).resolve().parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "LONGLEAF_INGEST_WORKERS" in done.stderr


def test_a_token_for_metrics_is_made_where_there_is_none(tmp_path: Path) -> None:
    file = tmp_path / "metrics-token"
    more = {"LONGLEAF_AUTH": "on", "LONGLEAF_METRICS_TOKEN_FILE": str(file)}
    with Server(tmp_path / "data", **more) as server:
        token = file.read_text().strip()
        assert len(token) == 64
        assert file.stat().st_mode & 0o777 == 0o640
        url = f"http://127.0.0.1:{server.port}/metrics"
        assert httpx.get(url).status_code == 401
        assert httpx.get(url, headers={"Authorization": f"Bearer {token}"}).status_code == 200
        assert [each.name for each in tmp_path.iterdir() if each.name.startswith(".")] == []
        # a second start takes the one that is there
        server.leave()
        server.start()
        assert file.read_text().strip() == token
