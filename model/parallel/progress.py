"""Progress: how far each rank is, to find the one that the others wait for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

_FILE = "progress"

Steps = NDArray[np.uint64]
"""Of one rank: passes that it has computed, collectives that it has entered."""


def fresh_steps() -> Steps:
    """Of a rank that has done nothing."""
    return np.zeros(2, np.uint64)


class SharedProgress:
    """The steps of all ranks of one machine, in memory that their processes share."""

    def __init__(self, folder: Path, ranks: int, *, create: bool = False) -> None:
        self._steps = np.memmap(folder / _FILE, np.uint64, "w+" if create else "r+", shape=(ranks, 2))

    def of(self, rank: int) -> Steps:
        """A rank's own, to be counted up in place."""
        steps: Steps = self._steps[rank]
        return steps

    def all(self) -> dict[int, tuple[int, int]]:
        """By rank."""
        return {rank: (int(passes), int(entered)) for rank, (passes, entered) in enumerate(self._steps)}


def behind(steps: Mapping[int, tuple[int, int]], ranks: int) -> list[int]:
    """The ranks that the others wait for when nothing moves any more; empty where it cannot be told.

    A stage waits for those before it, so the first of the stages that have computed the fewest passes is the
    one; in it, the ranks that have entered the fewest collectives.

    Args:
        steps: by rank, those of a stage after each other.
        ranks: in a stage.
    """
    if not steps:
        return []
    passes = {rank: done for rank, (done, _) in steps.items()}
    least = min(passes.values())
    stage = min(rank for rank, done in passes.items() if done == least) // ranks
    members = [rank for rank in steps if rank // ranks == stage]
    entered = {rank: steps[rank] for rank in members}
    late = [rank for rank in members if entered[rank] < max(entered.values())]
    if late:
        return late
    return members if len(members) < len(steps) else []
