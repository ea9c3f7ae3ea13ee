"""One simulated engine beside one real: the same questions, at the same times."""

from __future__ import annotations

from collections.abc import Sequence

from bench.scale.engine import Job, Shape, SimulatedEngine
from bench.scale.pace import Pace
from bench.scale.stepped import Timed
from bench.scale.workload import Question, names_of


def run(
    pace: Pace, shape: Shape, questions: Sequence[Question]
) -> tuple[list[Timed], SimulatedEngine, float]:
    """What becomes of each question; the engine afterwards; the clock at the end."""
    engine = SimulatedEngine(pace, shape)
    jobs = [Job(names_of(each, shape.block), each.prompt, each.new) for each in questions]
    clock, arrived = 0.0, 0
    while arrived < len(jobs) or not engine.idle:
        if engine.idle:
            clock = max(clock, questions[arrived].at)
        while arrived < len(jobs) and questions[arrived].at <= clock:
            engine.add(jobs[arrived], questions[arrived].at)
            arrived += 1
        clock += engine.step(clock)
    timed = [Timed(job.first - job.came, job.ended - job.came, job.cached) for job in jobs]
    return timed, engine, clock
