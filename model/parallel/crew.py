"""Crew: the ranks of one model as their parent sees them, wherever they run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from model.options import EngineOptions


@dataclass(frozen=True)
class Place:
    """Where a rank computes.

    Attributes:
        device: "cpu" or "cuda:N", as the rank itself calls it.
        threads: of each CPU operation.
        host: the machine's name for people; empty where it is this one.
    """

    device: str
    threads: int
    host: str = ""


class Crew(Protocol):
    """Started ranks, by their numbers. Each is sent a `model.parallel.worker.Job` first, and answers every
    message once, in their order.

    Attributes:
        places: by rank.
        grace: seconds within which it is known that a rank has ended, after others have felt it.
    """

    places: Sequence[Place]
    grace: float

    def send(self, rank: int, value: Any, tensor: Tensor | None, deadline: float) -> None:
        """Send a value and a contiguous CPU tensor.

        Raises:
            TimeoutError: not taken before the deadline, a time of `time.monotonic`.
            OSError: the rank is gone.
        """
        ...

    def ready(self, ranks: Sequence[int], deadline: float) -> list[int]:
        """Those that have answered; waits for the first.

        Raises:
            TimeoutError: none has before the deadline.
            EOFError: one has ended.
        """
        ...

    def receive(self, rank: int, deadline: float) -> tuple[Any, bytearray]:
        """The next answer of a rank.

        Raises:
            TimeoutError: not there before the deadline.
            EOFError, OSError: the rank is gone.
        """
        ...

    def deaths(self) -> dict[int, str]:
        """The ranks that have ended, and how."""
        ...

    def unreachable(self) -> list[int]:
        """The ranks that are stopped or give no answer whatever they are doing; looks for some seconds."""
        ...

    def steps(self) -> dict[int, tuple[int, int]]:
        """How far each rank is that says so (`model.parallel.progress`)."""
        ...

    def met(self) -> None:
        """All ranks have found each other."""
        ...

    def end(self) -> None:
        """End them all at once, whatever they are doing."""
        ...


StartCrew = Callable[[torch.device, EngineOptions], Crew]
"""Starts `options.processes` ranks for each of `options.stages` on such devices. Raises HardwareError where
there are none."""
