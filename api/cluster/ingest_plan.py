"""How many actors of each kind a cluster gets, and what each asks of its node."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

MOST_THREADS = 4
"""Cores that a small encoder still makes use of."""
SHARE = 0.5
"""Of the cores that actors may use, what they ask for by Ray's account: after the loss of half the nodes all
find room on the others. An actor that found none would hold up what waits for it."""
READERS_PER_EMBEDDER = 1
"""On CPUs. Reading costs less than embedding and is held back by it, so it takes what is left over."""


@dataclass(frozen=True, slots=True)
class Machine:
    """A node: its id, cores and GPUs."""

    node: str
    cpus: float
    gpus: float


@dataclass(frozen=True, slots=True)
class Plan:
    """Actors of each kind; cores and GPUs that each asks for; threads that an embedding one uses."""

    readers: int
    reader_cpus: float
    embedders: int
    embedder_cpus: float
    embedder_gpus: float
    threads: int
    bundle: int
    """Chunks that pass from one to the other at a time, at least: seconds of a core's work, or of a GPU's."""

    @property
    def most(self) -> int:
        """Leases that are out at a time: two bundles for each embedding actor, one for each that reads, were
        every document a chunk; long documents are as many as there are actors."""
        return 64 * (2 * self.embedders + self.readers)


def plan(machines: Sequence[Machine], *, use_gpus: bool = True) -> Plan | None:
    """The plan for these nodes; None where none of them has cores to give."""
    able = [machine for machine in machines if machine.cpus > 0]
    if not able:
        return None
    gpus = int(sum(machine.gpus for machine in able)) if use_gpus else 0
    if gpus:
        readers = max(1, int(sum(machine.cpus for machine in able) * SHARE))
        return Plan(readers, 0.5, gpus, 0.5, 1.0, 1, 256)
    threads = max(1, int(min(MOST_THREADS, *(machine.cpus for machine in able))))
    embedders = sum(max(1, int(machine.cpus / threads)) for machine in able)
    cores = min(threads, *(machine.cpus for machine in able))
    return Plan(
        embedders * READERS_PER_EMBEDDER,
        round(cores * SHARE * 0.2, 3),
        embedders,
        round(cores * SHARE * 0.8, 3),
        0.0,
        threads,
        32,
    )
