"""New versions of the service are deployed over the one that answers, and nobody notices but the operator."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster_service import ClusterService
from ray_nodes import Nodes
from serve_traffic import Traffic
from tiny_model import write_tiny

from api.cluster.engine_ray import routers
from api.cluster.serve_version import API, overview

PORT = 18437
LEASE = "The lease of the mill ends on 3 May 2031. The rent is 1,200 euros a month.\n"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    """One node with room for two versions."""
    started = Nodes(1, cpus=12)
    try:
        yield started
    finally:
        started.close()


@pytest.fixture(scope="module")
def service(nodes: Nodes, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterService]:
    """The first version, ready."""
    made = ClusterService(tmp_path_factory.mktemp("service"), PORT)
    try:
        made.start(nodes.address)
        made.until_ready()
        yield made
    finally:
        made.close()


@pytest.fixture(scope="module")
def known(service: ClusterService) -> str:
    """A document that was read before anything changes."""
    document = service.send("lease.md", LEASE)
    service.until_read(document)
    return document


def _engine(service: ClusterService) -> str:
    return str(service.client.get("/operations").json()["engine"]["model"])


def test_a_new_version_with_another_model_takes_over_under_load(
    nodes: Nodes, service: ClusterService, known: str, tmp_path: Path
) -> None:
    (first,) = service.commands
    before = _engine(service)
    traffic = Traffic(service, known)
    with traffic.flowing():
        service.until(lambda: len(traffic.answers) > 1, "answers are written")
        service.environment["LONGLEAF_MODEL"] = str(write_tiny(tmp_path / "newer"))
        service.environment["LONGLEAF_CLUSTER_WAITING_TOKENS"] = "4096"
        began = time.monotonic()
        second = service.start(nodes.address)
        service.until(lambda: first.poll() is not None, "the first command ends")
        assert first.returncode == 0, service.said()
        assert "deployed the service anew" in service.said()
        service.until(lambda: len(routers()) == 2, "both versions are there")
        service.until(
            lambda: "STOPPING" in overview().deployments[API].replica_states, "the old API is told to end"
        )
        switched = time.monotonic()
        service.until(lambda: len(routers()) == 1, "the first version is over")
        ended = time.monotonic()
        done = len(traffic.answers)
        service.until(lambda: len(traffic.answers) > done + 1, "answers of the new version")
    print(f"{ended - began:.1f} s, {dict(traffic.counts)}, {traffic.failed}")
    assert not traffic.failed
    assert any(a < switched < b for a, b in traffic.answers), "an answer was under way"
    assert second.poll() is None
    assert (before, _engine(service)) == ("tiny", "newer")
    traffic.check()


def test_a_version_that_cannot_be_loaded_replaces_nothing(
    nodes: Nodes, service: ClusterService, known: str, tmp_path: Path
) -> None:
    there = service.commands[-1]
    before = _engine(service)
    traffic = Traffic(service, known)
    good = service.environment["LONGLEAF_MODEL"]
    service.environment["LONGLEAF_MODEL"] = str(tmp_path / "nowhere")
    try:
        with traffic.flowing():
            broken = service.start(nodes.address)
            assert broken.wait(300) == 1, service.said()
            service.commands.remove(broken)
    finally:
        service.environment["LONGLEAF_MODEL"] = good
    print(dict(traffic.counts), traffic.failed, service.said()[-1500:])
    assert "can't be deployed: engine: model.errors.CheckpointError: there is no model at" in service.said()
    assert there.wait(30) == 0
    assert not traffic.failed
    assert _engine(service) == before
    traffic.check()
    service.start(nodes.address)  # what runs has a command again, which ends it
    service.until(lambda: "Longleaf is at" in service.said()[-200:], "it is deployed again")
