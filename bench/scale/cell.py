"""A cell: some engines, their router, and the share of everything else that their questions need.

Workspaces are divided among cells, and cells share nothing but the database, so many cells are one cell times
their number.
"""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from api.cluster.router import Router
from bench.scale import assumed
from bench.scale.assumed import Model
from bench.scale.clock import Clock, Station
from bench.scale.constants import Constants
from bench.scale.engine import Job
from bench.scale.fleet import Fleet
from bench.scale.workload import Question, Sessions

MOST_WAITING = 32_768


@dataclass(frozen=True)
class Place:
    """A corpus: chunks of the collection that a question is about, and how many of them one shard holds."""

    collection: float
    shard: float

    @property
    def shards(self) -> int:
        """Of the collection."""
        return max(1, math.ceil(self.collection / self.shard))


@dataclass(frozen=True)
class Needs:
    """Servers of each kind in a cell, beside engines: cores for the service, replicas of each shard, cores of
    the database."""

    service: int
    replicas: int
    database: int


@dataclass(frozen=True)
class Result:
    """What a cell did.

    Attributes:
        first, last: seconds to the first and to the last token, of each question that was counted.
        cached: share of the prompts' tokens that were not read again.
        busy: share of its time that each part was at work.
        behind: seconds that somebody who came at the end would have waited in each part.
    """

    first: list[float]
    last: list[float]
    cached: float
    busy: dict[str, float]
    behind: dict[str, float]

    @property
    def slow(self) -> float:
        """Seconds to the first token that one of twenty questions exceeds."""
        return statistics.quantiles(self.first, n=20)[-1] if len(self.first) > 1 else math.inf


def needs(rate: float, constants: Constants, place: Place) -> Needs:
    """So many servers that none is busier than planned."""
    service = constants.embed + constants.answer
    search = constants.search + constants.search_chunk * min(place.shard, place.collection)
    return Needs(
        max(2, math.ceil(rate * service / assumed.BUSY)),
        max(2, math.ceil(rate * search / assumed.BUSY)),
        max(2, math.ceil(rate * constants.postgres / assumed.BUSY)),
    )


def simulate(
    model: Model,
    engines: int,
    *,
    sessions: Sessions,
    constants: Constants,
    place: Place,
    servers: Needs,
    seconds: float,
    seed: int = 0,
) -> Result:
    """Questions for so long; those of the first half warm the caches and do not count."""
    clock, draw = Clock(), random.Random(seed)
    router = Router(model.shape.block, most_waiting=MOST_WAITING, seed=seed)
    fleet = Fleet(clock, engines, model.pace, model.shape, router=router, hop=constants.hop)
    stations = {
        "service": Station(clock, servers.service),
        "index": Station(clock, servers.replicas),
        "database": Station(clock, servers.database),
        "router": Station(clock, 1),
    }
    search = constants.search + constants.search_chunk * min(place.shard, place.collection)
    route = constants.route + constants.route_engine * engines
    jobs: list[tuple[Question, Job]] = []

    def come(question: Question) -> None:
        # One after the other, as in the service: embedding, all shards at once, the rest, then the engine.
        embedded = stations["service"].take(constants.embed)
        clock.at(embedded, lambda: searching(question))

    def searching(question: Question) -> None:
        # All shards get the same questions, so one of them stands for all; the slowest is waited for.
        slowest = draw.random() ** (1 / place.shards)
        noise = math.exp(assumed.SEARCH_SPREAD * statistics.NormalDist().inv_cdf(min(slowest, 1 - 1e-12)))
        end = stations["index"].take(search) + search * max(0.0, noise - 1) + 2 * constants.hop
        clock.at(max(end, stations["database"].take(constants.postgres)), lambda: packing(question))

    def packing(question: Question) -> None:
        clock.at(stations["service"].take(constants.answer), lambda: routing(question))

    def routing(question: Question) -> None:
        end = stations["router"].take(route) + constants.hop
        clock.at(end, lambda: fleet.ask(question, lambda job: jobs.append((question, job))))

    for question in sessions.draw(round(sessions.rate * seconds), seed):
        clock.at(question.at, lambda question=question: come(question))  # type: ignore[misc]
    clock.run(seconds)
    behind = {name: station.behind for name, station in stations.items()}
    behind["engines"] = router.waiting_tokens * 2 * model.parameters / model.pace.flops / engines
    busy = {name: station.busy / station.servers / seconds for name, station in stations.items()}
    busy["engines"] = sum(engine.busy for engine in fleet.engines) / engines / seconds
    clock.run()  # nobody comes any more; who is late counts too
    counted = [(question, job) for question, job in jobs if question.at > seconds / 2]
    read: Sequence[Job] = [job for _, job in counted]
    return Result(
        [job.first - question.at for question, job in counted],
        [job.ended - question.at for question, job in counted],
        sum(job.cached for job in read) / max(1, sum(job.prompt for job in read)),
        busy,
        behind,
    )
