"""The head of the cluster dies under `longleaf serve --cluster` and comes back at its address."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster_service import ClusterService
from ray_nodes import Nodes
from serve_traffic import Traffic

PORT = 18439
LEASE = "The lease of the mill ends on 3 May 2031. The rent is 1,200 euros a month.\n"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture
def head_port() -> int:
    """A port that a head can have twice."""
    with socket.create_server(("", 0)) as taken:
        return int(taken.getsockname()[1])


@pytest.fixture
def service(tmp_path: Path) -> Iterator[ClusterService]:
    """A service whose command the test gives, and gives again."""
    made = ClusterService(tmp_path, PORT)
    yield made
    made.client.close()
    for command in made.commands:
        if command.poll() is None:
            command.kill()
            command.wait()


def _head(port: int) -> Nodes:
    return Nodes(1, joined=False, cpus=6, gcs_server_port=port)


def test_a_lost_head_is_said_and_the_next_command_finds_all(service: ClusterService, head_port: int) -> None:
    nodes = _head(head_port)
    try:
        address = nodes.address
        assert address.endswith(f":{head_port}")
        command = service.start(address)
        service.until_ready()
        known = service.send("lease.md", LEASE)
        service.until_read(known)
        traffic = Traffic(service, known)
        with traffic.flowing():
            service.until(lambda: bool(traffic.deleted) and bool(traffic.answers), "something was deleted")
            assert not traffic.failed
            for number in range(5):  # some of them are read when it happens, some wait
                text = f"The bridge number {number} was built by Mr Ashdown in the year {1500 + number}."
                traffic.sent[service.send(f"bridge-{number}.md", text)] = text
            nodes.cut_off(nodes.cluster.head_node)
            lost = time.monotonic()
            service.until(lambda: command.poll() is not None, "the command ends", 60)
            noticed = time.monotonic() - lost
        print(f"noticed after {noticed:.1f} s; {dict(traffic.counts)}, {traffic.failed}\n{service.said()}")
        assert command.returncode == 1
        assert noticed < 15
        assert f"The cluster at {address} is lost" in service.said()
        assert "give this command again" in service.said()
        # A client hears that nobody is there, or that its answer broke off: never that all is well.
        assert traffic.failed
        early = service.start(address)
        assert early.wait(60) == 1
        assert "no Ray cluster answers" in service.said()
        nodes.close()
        nodes = _head(head_port)
        assert nodes.address == address
        last = service.start(address)
        service.until_ready()
        traffic.check()
        last.terminate()
        assert last.wait(120) == 0, service.said()
    finally:
        nodes.close()
