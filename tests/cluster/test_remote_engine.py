"""Engines on the nodes of a real cluster, used as one: the same answers, purges, cancelling, and lost
nodes."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import pytest
import ray
from ray.exceptions import ActorUnavailableError
from ray_nodes import Nodes
from tiny_model import write_tiny

from api.cluster.engine_facts import EnginePlan
from api.cluster.engine_ray import connect, start_engine, the_router
from api.cluster.engine_remote import RemoteEngine
from model import (
    Engine,
    EngineOptions,
    Finished,
    PrefillProgress,
    PromptTooLongError,
    SamplingParams,
    TokenEvent,
)
from rag.errors import Unavailable

OPTIONS = EngineOptions(chunk=32, block_size=16, kv_tokens=16_384, speculate=False)
GREEDY = SamplingParams(max_tokens=40, ignore_eos=True)
LONG = SamplingParams(max_tokens=4000, ignore_eos=True, temperature=0.8)


@dataclass
class House:
    """Two engines, each on a node of its own, and the same engine here."""

    nodes: Nodes
    plan: EnginePlan
    local: Engine
    remote: RemoteEngine
    router: Any
    hosts: list[Any] = field(default_factory=list)

    def start(self) -> None:
        """One more engine, on a node that has none."""
        self.hosts.append(start_engine(self.plan, self.router, num_cpus=0.1, resources={"worker": 2}))

    def engines(self, count: int) -> dict[str, Any]:
        """The router's engines, once there are so many."""
        until = time.monotonic() + 60
        found: dict[str, Any] = {}
        while time.monotonic() < until:
            with suppress(ActorUnavailableError):  # it is being started anew
                found = dict(ray.get(self.router.state.remote())["engines"])
            if len(found) == count:
                return found
            time.sleep(0.1)
        raise AssertionError(f"{len(found)} engines, not {count}")

    def epoch(self) -> str:
        """Which of its lives the router is in; empty between two."""
        try:
            return str(ray.get(self.router.__ray_call__.remote(lambda it: it._epoch)))
        except ActorUnavailableError:
            return ""


@pytest.fixture(scope="module")
def house(nodes: Nodes, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    nodes.workers.append(nodes.add())
    plan = EnginePlan(str(write_tiny(tmp_path_factory.mktemp("tiny"))), "cpu", "float32", OPTIONS)
    router = the_router(2048)
    made = House(nodes, plan, plan.load(), None, router)  # type: ignore[arg-type]
    made.start()
    made.start()
    made.remote = connect(router, resume=True, seconds=120)
    made.engines(2)
    yield made
    ray.kill(router)


def ids(number: int, length: int = 100) -> list[int]:
    return [(number * 31 + place * place) % 400 + 20 for place in range(length)]


def told(events: Iterator[Any]) -> list[Any]:
    """Without how far reading was."""
    return [event for event in events if not isinstance(event, PrefillProgress)]


def test_answers_are_those_of_the_engine_itself(house: House) -> None:
    for params in (
        GREEDY,
        SamplingParams(max_tokens=30, temperature=0.9, seed=4, logprobs=True, top_logprobs=2),
    ):
        assert told(house.remote.generate(ids(1), params)) == told(house.local.generate(ids(1), params))
    assert house.remote.score(ids(2), 5).tolist() == pytest.approx(house.local.score(ids(2), 5).tolist())
    ranked, local = house.remote.rank(ids(2), 3), house.local.rank(ids(2), 3)
    assert ranked is not None
    assert local is not None
    assert ranked.top_ids.tolist() == local.top_ids.tolist()
    assert house.remote.logits(ids(3)).shape == house.local.logits(ids(3)).shape
    messages = [{"role": "user", "content": "hello"}]
    assert told(house.remote.chat(messages, GREEDY)) == told(house.local.chat(messages, GREEDY))
    with pytest.raises(PromptTooLongError):
        house.remote.generate(ids(1) * 200, GREEDY)


def test_what_was_read_is_found_again_until_it_is_purged(house: House) -> None:
    def cached(number: int, workspace: str = "w") -> int:
        *_, end = house.remote.generate([*ids(number), 7], GREEDY, salt=workspace, tags={f"doc{number}"})
        assert isinstance(end, Finished)
        return end.cached_tokens

    numbers = range(10, 18)
    assert [cached(number) for number in numbers] == [0] * 8
    assert [cached(number) for number in numbers] == [96] * 8
    assert cached(10, "other") == 0
    assert house.remote.purge("doc11") == 6
    assert cached(11) == 0
    assert cached(12) == 96
    hosts = [ray.get(host.stats.remote()) for host in house.hosts]
    assert all(stats.cached_tokens for stats in hosts)  # both had their share


def test_cancelling_and_leaving_end_it_there(house: House) -> None:
    cancel, events = threading.Event(), []
    for event in house.remote.generate(ids(20), LONG, cancel=cancel):
        events.append(event)
        if isinstance(event, TokenEvent) and event.index == 3:
            cancel.set()
    assert isinstance(events[-1], Finished)
    assert events[-1].reason == "cancelled"
    left = house.remote.generate(ids(21), LONG)
    while not isinstance(next(left), TokenEvent):
        pass
    left.close()  # type: ignore[attr-defined]
    until = time.monotonic() + 20
    while house.remote.stats().running and time.monotonic() < until:
        time.sleep(0.1)
    assert house.remote.stats().running == 0


@pytest.mark.parametrize("resume", [True, False])
def test_an_answer_whose_node_is_lost_goes_on_or_says_so(house: House, resume: bool) -> None:
    params = SamplingParams(max_tokens=6000, ignore_eos=True, temperature=0.8, seed=9)
    before = house.engines(2)
    remote = RemoteEngine(house.router, house.remote._facts, resume=resume)
    events: list[Any] = []
    failure: Unavailable | None = None
    began = time.monotonic()
    try:
        for event in remote.generate(ids(30 + resume), params):
            events.append(event)
            if isinstance(event, TokenEvent) and event.index == 20:
                lose_the_busy_node(house)
    except Unavailable as error:
        failure = error
    assert time.monotonic() - began < 60
    if resume:
        assert failure is None
        assert told(iter(events)) == told(house.local.generate(ids(31), params))
    else:
        assert failure is not None
        assert failure.code == "engine_lost"
        assert 20 < len(told(iter(events))) < params.max_tokens
    assert told(remote.generate(ids(40 + resume), GREEDY)) == told(
        house.local.generate(ids(40 + resume), GREEDY)
    )
    house.nodes.workers.append(house.nodes.add())
    house.start()
    assert house.engines(2).keys() != before.keys()


def lose_the_busy_node(house: House) -> None:
    """Kill the node of the engine that is writing."""
    for host in house.hosts:
        try:
            if not ray.get(host.stats.remote(), timeout=10).running:
                continue
        except ray.exceptions.RayError:
            continue
        home = ray.get(host.__ray_call__.remote(lambda _: ray.get_runtime_context().get_node_id()))
        for node in [*house.nodes.workers]:
            if node.node_id == home:  # type: ignore[attr-defined]
                house.nodes.kill(node)
                return
    raise AssertionError("no engine is writing")


def test_what_a_router_before_had_purged_is_found_again_once_it_is_read(house: House) -> None:
    def cached() -> int:
        *_, end = house.remote.generate([*ids(40), 7], GREEDY, salt="w", tags={"doc40"})
        assert isinstance(end, Finished)
        return end.cached_tokens

    assert [cached(), cached()] == [0, 96]
    house.remote.purge("doc40")
    before = house.epoch()
    ray.kill(house.router, no_restart=False)
    until = time.monotonic() + 60
    while house.epoch() in {before, ""} and time.monotonic() < until:
        time.sleep(0.1)
    house.engines(2)
    assert [cached(), cached()] == [0, 96]
