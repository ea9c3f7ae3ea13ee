"""What it takes to go from one process of a cluster to another, and to choose an engine."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass

from api.cluster.joining import load_ray
from api.cluster.router import Asked, Router

ROUTED = 400


def hop(calls: int = 400) -> float:
    """Seconds of a call of an asynchronous actor and back: the quickest tenth, since others use the
    machine."""

    class Echo:
        async def say(self, what: int) -> int:
            return what

    ray = load_ray()
    ray.init("local", num_cpus=1, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    try:
        echo = ray.remote(Echo).options(num_cpus=0).remote()
        ray.get(echo.say.remote(0))
        taken = []
        for number in range(calls):
            begun = time.perf_counter()
            ray.get(echo.say.remote(number))
            taken.append(time.perf_counter() - begun)
    finally:
        ray.shutdown()
    return statistics.quantiles(taken, n=10)[0]


@dataclass(frozen=True)
class Routed:
    """CPU seconds of a router for one request, with so many engines."""

    engines: int
    seconds: float


def route(engines: int) -> Routed:
    """One request from its coming to its end, with prompts of sixteen blocks, half of them known."""
    router = Router(256, most_waiting=1 << 40, most_requests=1 << 20)
    for number in range(engines):
        router.add(f"engine {number}", 2000)
    begun = time.process_time()
    for number in range(ROUTED):
        names = tuple(f"{number // 2} {block}".encode() for block in range(16))
        router.ask(Asked(f"w{number % 20}", names, 4100, 200))
        for placed in router.place():
            router.begun(placed.ticket)
            router.reading(placed.ticket, placed.cached)
            router.read_on(placed.ticket, 4100)
            router.end(placed.ticket, 200)
    return Routed(engines, (time.process_time() - begun) / ROUTED)
