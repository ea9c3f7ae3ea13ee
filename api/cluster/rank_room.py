"""Room for the ranks of one engine: what each machine of the cluster is to give."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Room:
    """A placement group for an engine over several machines.

    Attributes:
        bundles: what each is to hold; Ray gives all of a bundle on one machine.
        ranks: in each bundle, those of a stage after each other.
        kind: the resource of which each rank takes one: "GPU" or "CPU".
    """

    bundles: list[dict[str, float]]
    ranks: int
    kind: str

    def bundle_of(self, rank: int) -> int:
        """The number of the bundle that a rank is in."""
        return rank // self.ranks


@dataclass(frozen=True)
class Spread:
    """That an engine's ranks may be on several machines.

    Attributes:
        kind: see `Room`.
        largest: how many of the resource the largest machine has; 0 where it is not known yet.
        extra: what each bundle asks for beside it.
    """

    kind: str
    largest: int = 0
    extra: Mapping[str, float] = field(default_factory=dict)

    def room(self, processes: int, stages: int) -> Room:
        """A bundle for each stage, so that its sums stay on one machine; a stage that no machine can hold is
        cut into equal bundles that one can."""
        ranks = processes
        if 0 < self.largest < processes:
            ranks = max(each for each in range(1, self.largest + 1) if processes % each == 0)
        bundle = {self.kind: float(ranks), **self.extra}
        return Room([dict(bundle) for _ in range(processes * stages // ranks)], ranks, self.kind)


def spread_of(nodes: Iterable[Mapping[str, Any]], device: str, processes: int, stages: int) -> Spread | None:
    """How an engine is to be spread over a cluster; None where one process on one machine starts all ranks.

    Args:
        nodes: as `ray.nodes` gives them.
        device: `LONGLEAF_DEVICE`.
    """
    kind = "GPU" if device.startswith("cuda") else "CPU"
    largest = max((int(each["Resources"].get(kind, 0)) for each in nodes if each["Alive"]), default=0)
    if stages > 1 or 0 < largest < processes:
        return Spread(kind, largest)
    return None
