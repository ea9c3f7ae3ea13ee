"""What desk and actors say to each other while documents are read on a cluster. All of it can be pickled."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from ingest.drafting import Order
from ingest.leases import Lease
from rag.embedders.base import Vectors
from rag.settings import Settings


@dataclass(frozen=True, slots=True)
class Hand:
    """Who works: an actor, which of its lives this is (Ray starts one that died again), and its node."""

    actor: str
    life: str
    node: str


@dataclass(frozen=True, slots=True)
class Office:
    """What every actor is told: the desk, the settings, and the embedder and version that it must have."""

    desk: Any
    settings: Settings
    fingerprint: str
    release: str


@dataclass(frozen=True, slots=True)
class Task:
    """A file to read: where the desk has it, and the mark of the folder that it lies in; None without one."""

    lease: Lease
    order: Order
    path: str
    mark: str | None


@dataclass(frozen=True, slots=True)
class Part:
    """Some chunks of a document that lack a vector: their keys, lengths in tokens, and what is embedded."""

    lease: Lease
    number: int
    keys: tuple[int, ...]
    tokens: tuple[int, ...]
    inputs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Turn:
    """What an actor that asks for work gets: a task, or parts of a document that was read before, or nothing.

    `wait`: there is nothing now, or enough is under way. `end`: there is nothing more to do.
    """

    state: Literal["task", "parts", "wait", "end"]
    task: Task | None = None
    parts: tuple[Part, ...] = ()


@dataclass(frozen=True, slots=True)
class Embedded:
    """The vectors [chunks, dimension] of a part; or why there are none."""

    part: Part
    vectors: Vectors | None
    error: Exception | None = None


@dataclass(frozen=True, slots=True)
class Figures:
    """How a bulk ingest stands: documents under way, ended since its start, and moves of any kind.

    `busy` are the documents that an actor has in work at the moment.
    """

    held: int
    busy: int
    done: int
    failed: int
    again: int
    lost: int
    moves: int
