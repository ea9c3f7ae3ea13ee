"""`longleaf serve --cluster`: a document sent to a service on a real cluster is searched and asked about."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from ray.util.placement_group import placement_group_table
from ray_nodes import Nodes
from tiny_model import write_tiny

ROOT = Path(__file__).resolve().parents[2]
LEASE = "The lease of the mill ends on 3 May 2031. The rent is 1,200 euros a month.\n"
PORT = 18431


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    """A head and one worker node, with room for the ranks of an engine beside the service."""
    started = Nodes(2, cpus=3)
    try:
        yield started
    finally:
        started.close()


@pytest.mark.parametrize("stages", [1, 2])
def test_a_service_on_a_cluster_answers(nodes: Nodes, tmp_path: Path, stages: int) -> None:
    settings = {
        "LONGLEAF_DATA_DIR": str(tmp_path / "data"),
        "LONGLEAF_MODEL": str(write_tiny(tmp_path / "tiny")),
        "LONGLEAF_PORT": str(PORT),
        "LONGLEAF_MODEL_STAGES": str(stages),
        "RAY_USAGE_STATS_ENABLED": "0",
        "PYTHONPATH": str(ROOT),
    }
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LONGLEAF_")}
    command = [sys.executable, "-m", "api", "serve", "--cluster", nodes.address]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(command, env=environment | settings, stdout=log, stderr=log, cwd=tmp_path)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{PORT}", timeout=120) as client:
            until_ready(client, process, tmp_path / "log")
            sent = client.post("/documents", files={"file": ("lease.md", LEASE.encode())}).json()
            document = sent["documents"][0]["id"]
            until = time.monotonic() + 120
            while client.get(f"/documents/{document}").json()["status"] != "ready":
                assert time.monotonic() < until
                time.sleep(0.5)
            found = client.post("/search", json={"query": "When does the lease end?"}).json()["results"]
            assert found[0]["document_id"] == document
            asked = {
                "question": "When does the lease end?",
                "mode": "answer",
                "max_tokens": 12,
                "stream": True,
            }
            with client.stream("POST", "/query", json=asked) as stream:
                events = [
                    line.partition(": ")[2]
                    for line in stream.iter_lines()
                    if line.startswith(("event", "data"))
                ]
            assert events[-2] == "done"
            answer = json.loads(events[-1])
            assert answer["usage"]["completion_tokens"] == 12
            assert answer["citations"][0]["document_id"] == document
            until = time.monotonic() + 30  # engines tell the router what they did every second
            while client.get("/operations").json()["engine"]["new_tokens"] < 12:
                assert time.monotonic() < until
                time.sleep(0.5)
            assert client.delete(f"/documents/{document}").status_code == 204
            groups = [
                each["bundles"] for each in placement_group_table().values() if each["state"] == "CREATED"
            ]
            # A bundle for each stage, and none where the engine's own process is enough.
            assert groups == ([{0: {"CPU": 1.0}, 1: {"CPU": 1.0}}] if stages == 2 else [])
    finally:
        process.terminate()
        assert process.wait(120) == 0


def until_ready(client: httpx.Client, process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until the service says that it is."""
    until = time.monotonic() + 240
    while True:
        assert process.poll() is None, log.read_text()
        try:
            if client.get("/readyz").status_code == 200:
                return
        except httpx.TransportError:
            pass
        assert time.monotonic() < until, log.read_text()
        time.sleep(1)
