"""The simulation has the engine's rules: what is cached, what waits, how long it takes by its constants."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tiny_model import write_tiny

from bench import routing
from bench.scale import simulated, stepped
from bench.scale.clock import Clock, Station
from bench.scale.engine import Shape
from bench.scale.pace import Chunk, CpuPace, Step
from bench.scale.workload import Question, Sessions, names_of, tokens_of
from model import Engine, EngineOptions
from model.kv.names import block_names

PACE = CpuPace(step=0.004, rows=0.002, row=0.002, context=3e-6, chunk=0.02, token=0.001, pair=4e-7)
SESSIONS = Sessions(rate=1.0, workspaces=3, documents=5, document=80, skeleton=20, question=12, new=6)


def engine(folder: Path, blocks: int) -> tuple[Engine, Shape]:
    shape = Shape(block=16, chunk=32, step_tokens=32, blocks=blocks)
    options = EngineOptions(block_size=16, chunk=32, kv_tokens=16 * blocks, speculate=False)
    return Engine.load(write_tiny(folder), "cpu", "float32", options=options), shape


def apart(questions: list[Question]) -> list[Question]:
    """The same, one after the other."""
    return [replace(question, at=1000.0 * number) for number, question in enumerate(questions)]


def test_what_is_cached_is_what_the_engine_has_cached(tmp_path: Path) -> None:
    real, shape = engine(tmp_path, blocks=512)
    asked = apart(SESSIONS.draw(40))
    run, (guess, *_) = stepped.run(real, asked), simulated.run(PACE, shape, asked)
    assert [each.cached for each in guess] == [each.cached for each in run.timed]
    assert sum(each.cached for each in guess) > 0


def meeting(seed: int) -> list[Question]:
    """Three at a time."""
    return [replace(each, at=40.0 * (number // 3)) for number, each in enumerate(SESSIONS.draw(60, seed))]


def test_so_it_is_where_questions_meet(tmp_path: Path) -> None:
    real, shape = engine(tmp_path, blocks=512)
    for seed in (0, 1):
        real._cache.clear()
        run, (guess, *_) = stepped.run(real, meeting(seed)), simulated.run(PACE, shape, meeting(seed))
        assert [each.cached for each in guess] == [each.cached for each in run.timed]


def test_where_memory_is_short_about_as_much_is_cached(tmp_path: Path) -> None:
    real, shape = engine(tmp_path, blocks=48)
    for asked in (apart(SESSIONS.draw(60)), meeting(0), meeting(1)):
        real._cache.clear()
        run, (guess, *_) = stepped.run(real, asked), simulated.run(PACE, shape, asked)
        cached = sum(each.cached for each in run.timed)
        assert sum(each.cached for each in guess) == pytest.approx(cached, rel=0.05)


def test_names_say_what_tokens_say() -> None:
    asked = SESSIONS.draw(30)
    simulated_names = [names_of(question, 16) for question in asked]
    real = [block_names(tokens_of(question, 40_000), 16, b"", question.workspace) for question in asked]
    for one, first in zip(simulated_names, real, strict=True):
        for other, second in zip(simulated_names, real, strict=True):
            shared = sum(a == b for a, b in zip(one, other, strict=False))
            assert shared == sum(a == b for a, b in zip(first, second, strict=False))


def test_constants_are_found_again() -> None:
    steps = [
        Step(rows, 200 * rows, (Chunk(start, count),) if count else ())
        for rows in range(9)
        for start, count in ((0, 0), (0, 128), (128, 128), (1024, 60))
        if rows or count
    ]
    found = CpuPace.fit([(step, PACE.seconds(step)[-1]) for step in steps])
    for step in steps:
        assert found.seconds(step)[-1] == pytest.approx(PACE.seconds(step)[-1], rel=1e-6)


def test_a_question_alone_takes_what_its_steps_take() -> None:
    asked = replace(SESSIONS.draw(1)[0], new=3)
    ((timed,), *_) = simulated.run(PACE, Shape(16, 32, 32, 64, 512), [asked])
    chunks = [Chunk(at, min(32, asked.prompt - at)) for at in range(0, asked.prompt, 32)]
    reading = sum(PACE.seconds(Step(0, 0, (chunk,)))[-1] for chunk in chunks)
    writing = sum(PACE.seconds(Step(1, asked.prompt + n, ()))[-1] for n in (1, 2))
    assert timed.first == pytest.approx(reading)
    assert timed.last == pytest.approx(reading + writing)


def test_choosing_by_prefix_caches_twice_as_much_as_drawing() -> None:
    asked = routing.SESSIONS.draw(300)
    chosen, drawn = (routing.simulated(asked, 4, by_prefix=kind, seed=0) for kind in (True, False))
    assert chosen.cached >= 2 * drawn.cached


def test_a_station_takes_one_after_the_other() -> None:
    clock = Clock()
    station = Station(clock, 2)
    assert [station.take(1.0) for _ in range(3)] == [1.0, 1.0, 2.0]
    ended: list[float] = []
    clock.at(1.5, lambda: ended.append(station.take(1.0)))
    clock.run()
    assert ended == [2.5]
    assert station.busy == 4.0
    assert station.behind == pytest.approx(0.5)
