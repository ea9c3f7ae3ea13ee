"""`longleaf shards` beside `longleaf serve --cluster`: each verb while the service is searched."""

from __future__ import annotations

import json
import secrets
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from cluster_service import ClusterService
from ray_nodes import Nodes

if TYPE_CHECKING:
    from tests.conftest import PostgresServer

PORT = 18433
DOCS = Path(__file__).parents[2] / "docs"
QUESTIONS = ("How is a deleted document kept out of an answer?", "LONGLEAF_KV_DISK_BYTES", "Which lease?")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


def test_shards_are_changed_under_a_running_service(
    nodes: Nodes, postgres_server: PostgresServer, tmp_path: Path
) -> None:
    name = f"test_{secrets.token_hex(6)}"
    url = postgres_server.create(name)
    service = ClusterService(tmp_path / "service", PORT, LONGLEAF_DATABASE_URL=url)
    stop, wrong = threading.Event(), []

    def shards(verb: str, *arguments: str) -> list[dict[str, Any]]:
        out = service.run("shards", verb, *arguments, "--cluster", nodes.address, "--json")
        found: list[dict[str, Any]] = json.loads(out).get("collections", {}).get("default", [])
        return found

    def results(question: str) -> list[tuple[str, float]]:
        answer = service.found(question)
        assert answer.status_code == 200, answer.text
        body = answer.json()
        assert not body.get("partial"), body["partial"]
        return [(each["text"], each["score"]) for each in body["results"]]

    try:
        service.start(nodes.address)
        service.until_ready()
        for document in [service.send(each.name, each.read_text()) for each in sorted(DOCS.glob("s*.md"))]:
            service.until_read(document)
        whole = {question: results(question) for question in QUESTIONS}
        assert all(whole.values())

        def search() -> None:
            number = 0
            while not stop.is_set():
                question = QUESTIONS[number % len(QUESTIONS)]
                number += 1
                try:
                    assert results(question) == whole[question], f"{question!r} has another ranking"
                except (AssertionError, httpx.HTTPError) as error:
                    wrong.append(error)

        searching = threading.Thread(target=search)
        searching.start()
        try:
            laid = shards("lay", "default", "--shards", "2", "--replicas", "1")
            assert [each["state"] for each in laid] == ["ready"] * 2
            assert shards("status") == laid
            split = shards("split", "default", str(laid[0]["shard"]))
            assert len({each["shard"] for each in split}) == 3
            other = next(each for each in split if each["node"] != split[-1]["node"])
            moved = shards(
                "move", "default", str(split[-1]["shard"]), str(split[-1]["replica"]), "--node", other["node"]
            )
            assert moved[-1]["node"] == other["node"]
            assert moved[-1]["replica"] != split[-1]["replica"]
            twice = shards("replicate", "default", "2")
            assert len(twice) == 6
            for shard in {each["shard"] for each in twice}:
                assert len({each["node"] for each in twice if each["shard"] == shard}) == 2
            assert shards("drop", "default") == []
            assert shards("status") == []
        finally:
            stop.set()
            searching.join(60)
        assert not wrong, wrong[0]
        assert {question: results(question) for question in QUESTIONS} == whole
    finally:
        stop.set()
        try:
            service.close()
        finally:
            postgres_server.drop(name)
