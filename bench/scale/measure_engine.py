"""The engine's constants, from steps of a real engine; and a load for it, of which they know nothing."""

from __future__ import annotations

import random
from collections.abc import Sequence

import torch

from bench.scale import stepped
from bench.scale.engine import Shape
from bench.scale.pace import Step
from bench.scale.workload import Part, Question, Sessions
from model import Engine, EngineOptions

SHAPE = Shape(block=64, chunk=128, step_tokens=128, blocks=256)
LOAD = Sessions(
    rate=1.0, workspaces=3, documents=6, about=2, questions=4, think=5.0, document=200, skeleton=40, new=20
)


def load() -> Engine:
    """The bundled model on one core, without speculation, which depends on what is written."""
    torch.set_num_threads(1)
    tokens = SHAPE.block * SHAPE.blocks
    options = EngineOptions(block_size=SHAPE.block, chunk=SHAPE.chunk, kv_tokens=tokens, speculate=False)
    return Engine.load("auto", "cpu", options=options)


def calibration(engine: Engine) -> list[tuple[Step, float]]:
    """Steps of prompts read alone, and of several answers written together."""
    steps: list[tuple[Step, float]] = []
    for length in (100, 400, 900):
        steps += stepped.run(engine, [_alone(length, 2)]).steps
    for together in (1, 3, 8):
        steps += stepped.run(engine, [_alone(40 + 20 * n, 12) for n in range(together)]).steps
    return steps


def forget(engine: Engine) -> None:
    """As `Engine.forget`, without starting the engine's thread."""
    engine._cache.clear()


def _alone(length: int, new: int) -> Question:
    return Question(0.0, "calibration", (Part(f"text {random.random()}", length),), new)


def questions(rate: float, count: int, seed: int) -> Sequence[Question]:
    """A load of so many questions a second."""
    return Sessions(**{**LOAD.__dict__, "rate": rate}).draw(count, seed)
