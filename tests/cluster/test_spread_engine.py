"""One engine over the nodes of a real cluster, a stage on each: the tokens of one process, and the loss of a
node, which ends it by name while the router goes on."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import ray
import torch
from ray_nodes import Nodes
from tiny_model import write_tiny

from api.cluster.engine_facts import EnginePlan
from api.cluster.engine_ray import connect, start_engine, the_router
from api.cluster.engine_remote import RemoteEngine
from api.cluster.rank_crew import RayCrew
from api.cluster.rank_host import interface_of
from api.cluster.rank_room import Spread, spread_of
from model import EngineDeadError, EngineOptions, HardwareError, PrefillProgress, SamplingParams, TokenEvent
from model.parallel.executor import ParallelExecutor
from rag.errors import Unavailable

pytestmark = pytest.mark.timeout(600)

OPTIONS = EngineOptions(chunk=32, block_size=16, kv_tokens=16_384, speculate=False, process_seconds=60.0)
ONE_EACH = Spread("CPU", extra={"worker": 2})
"""A bundle takes a worker node for itself."""
HEAD = {"node:__internal_head__": 0.001}
GREEDY = SamplingParams(max_tokens=24, ignore_eos=True)
ENDLESS = SamplingParams(max_tokens=7000, ignore_eos=True, temperature=0.8, seed=3)
PROMPT = [(place * place) % 400 + 20 for place in range(150)]


@pytest.fixture(scope="module")
def workers(nodes: Nodes) -> Nodes:
    """A head and two worker nodes."""
    nodes.workers.append(nodes.add())
    return nodes


@pytest.fixture(scope="module")
def plain(workers: Nodes, tmp_path_factory: pytest.TempPathFactory) -> EnginePlan:
    """The model in one process."""
    del workers
    folder = write_tiny(tmp_path_factory.mktemp("tiny"))
    return EnginePlan(str(folder), "cpu", "float32", OPTIONS)


@pytest.fixture
def staged(plain: EnginePlan) -> EnginePlan:
    """The same with a stage on each worker node."""
    return replace(plain, options=replace(OPTIONS, stages=2), spread=ONE_EACH)


def told(events: Iterator[Any]) -> list[Any]:
    return [event for event in events if not isinstance(event, PrefillProgress)]


def test_stages_on_two_nodes_give_the_bits_of_one_process_until_one_stops(
    plain: EnginePlan, staged: EnginePlan
) -> None:
    here, there = plain.load(), replace(staged, options=replace(staged.options, process_seconds=8.0)).load()
    executor = there._executor
    assert isinstance(executor, ParallelExecutor)
    crew = executor._crew
    assert isinstance(crew, RayCrew)
    homes = {node for _, node, _ in ray.get([actor.place.remote() for actor in crew._actors])}
    assert len(homes) == 2
    assert torch.equal(there.logits(PROMPT), here.logits(PROMPT))
    assert told(there.generate(PROMPT, GREEDY)) == told(here.generate(PROMPT, GREEDY))
    content = torch.randn((2, 2, 16, 2, 16), generator=torch.Generator().manual_seed(3))
    executor.load(5, content)
    assert torch.equal(executor.read(5), content)
    # One that hangs: its process is there, and even says how far it is.
    crew._actors[1].__ray_call__.remote(lambda _: time.sleep(600))
    with pytest.raises(EngineDeadError, match=r"^rank 1 of 2 \(stage 1 of 2\) on \S+ gave no sign of life"):
        list(there.generate(PROMPT[:40], GREEDY))
    here.close()
    there.close()


def test_a_lost_node_ends_the_engine_by_name_and_the_router_goes_on(
    workers: Nodes, plain: EnginePlan, staged: EnginePlan
) -> None:
    router = the_router(2048)
    host = start_engine(staged, router, num_cpus=0, resources=HEAD)
    remote = connect(router, resume=True, seconds=300)
    strict = RemoteEngine(router, remote._facts, resume=False)
    here = plain.load()
    assert told(remote.generate(PROMPT, GREEDY)) == told(here.generate(PROMPT, GREEDY))
    failure: Unavailable | None = None
    written: list[Any] = []
    spare: list[Any] = []
    try:
        for event in strict.generate(PROMPT, ENDLESS):
            written.append(event)
            if isinstance(event, TokenEvent) and event.index == 5:
                spare.append(start_engine(plain, router, num_cpus=0, resources=HEAD))
                until_engines(router, 2)
                threading.Thread(target=workers.kill, args=(workers.workers[-1],)).start()
    except Unavailable as error:
        failure = error
    assert failure is not None
    assert failure.code == "engine_lost"
    assert "of 2 (stage " in str(failure)
    with pytest.raises(EngineDeadError, match=r"rank \d of 2 \(stage \d of 2\) on \S+ (was lost|cannot be)"):
        ray.get(host.check.remote())
    began = time.monotonic()
    other = PROMPT[90::-1]  # which neither has read
    assert told(remote.generate(other, GREEDY)) == told(here.generate(other, GREEDY))
    assert time.monotonic() - began < 60
    until_engines(router, 1)
    ray.kill(router)


def until_engines(router: Any, count: int) -> None:
    """Wait until the router knows so many."""
    until = time.monotonic() + 120
    while len(ray.get(router.state.remote())["engines"]) != count:
        assert time.monotonic() < until
        time.sleep(0.2)


def test_what_the_cluster_cannot_hold_is_refused(workers: Nodes, staged: EnginePlan) -> None:
    del workers
    options = replace(staged.options, stages=2)
    with pytest.raises(HardwareError, match=r"no room within 1 s for 2 times \{'CPU': 1.0, 'moon': 1\}"):
        RayCrew(torch.device("cpu"), options, spread=Spread("CPU", extra={"moon": 1}), seconds=1)


def test_a_stage_stays_on_one_machine_where_one_can_hold_it() -> None:
    def bundles(largest: int, processes: int, stages: int) -> list[float]:
        return [each["GPU"] for each in Spread("GPU", largest).room(processes, stages).bundles]

    assert bundles(8, 8, 2) == [8, 8]
    assert bundles(8, 16, 1) == [8, 8]
    assert bundles(8, 4, 4) == [4, 4, 4, 4]
    assert bundles(6, 8, 2) == [4, 4, 4, 4]  # equal parts, as many as a machine has
    assert bundles(0, 8, 2) == [8, 8]  # machines that are still to come
    room = Spread("GPU", 8).room(16, 2)
    assert [room.bundle_of(rank) for rank in (0, 7, 8, 16, 31)] == [0, 0, 1, 2, 3]


def test_an_engine_is_spread_where_a_machine_does_not_hold_it() -> None:
    nodes = [
        {"Alive": True, "Resources": {"CPU": 32.0, "GPU": 8.0}},
        {"Alive": True, "Resources": {"CPU": 4.0}},
        {"Alive": False, "Resources": {"GPU": 16.0}},
    ]
    assert spread_of(nodes, "cuda", 8, 1) is None
    assert spread_of(nodes, "cuda", 16, 1) == Spread("GPU", 8)
    assert spread_of(nodes, "cuda", 8, 2) == Spread("GPU", 8)
    assert spread_of(nodes, "auto", 1, 1) is None
    assert spread_of(nodes, "cpu", 2, 2) == Spread("CPU", 32)


def test_the_interface_of_an_address_is_found() -> None:
    assert interface_of("127.0.0.1") == "lo"
    assert interface_of("192.0.2.77") == ""
