"""The process group: what the ranks of one model ask of each other, over gloo on CPUs and NCCL on GPUs."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from model.parallel.progress import SharedProgress, Steps

LOAD_SECONDS = 3600.0
"""How long loading may take: 405 billion weights from a slow disk."""
_STORE = "store"


@dataclass(frozen=True)
class Meeting:
    """Where the ranks of a model find each other.

    Attributes:
        store: torch's key-value store that all of them reach.
        interface: the network interface over which they then talk; empty for what gloo or NCCL choose.
        steps: this rank's own, counted up as it goes on.
    """

    store: Any
    interface: str
    steps: Steps

    @classmethod
    def in_folder(cls, folder: Path, rank: int, world: int) -> Meeting:
        """On one machine: by files in a folder of the parent's own, then over the loopback interface, so
        that there is no port to agree on."""
        store = dist.FileStore(str(folder / _STORE), world)  # type: ignore[attr-defined]
        return cls(store, "lo", SharedProgress(folder, world).of(rank))


class Group:
    """One rank's view of the others: those of its stage, with which it sums, and those of the same number in
    the stages beside it, with which it passes hidden states on.

    Attributes:
        rank, ranks: which this is in its stage, of how many.
        stage, stages: which stage, of how many.
    """

    def __init__(  # noqa: PLR0917 - a place, in its own order
        self, rank: int, ranks: int, stages: int, device: torch.device, meeting: Meeting, seconds: float
    ) -> None:
        """Meet the other ranks; returns when all are there.

        Args:
            rank: of all, those of a stage after each other.
            ranks: in a stage.
            seconds: after which a collective gives up.
        """
        self.stage, self.rank = divmod(rank, ranks)
        self.ranks, self.stages = ranks, stages
        self._all_rank, self._steps, self._device = rank, meeting.steps, device
        self._nccl = device.type == "cuda"
        self._sending: tuple[Any, Tensor] | None = None
        if meeting.interface:
            name = "NCCL_SOCKET_IFNAME" if self._nccl else "GLOO_SOCKET_IFNAME"
            os.environ.setdefault(name, meeting.interface)
        # Hosts read their parts at different speeds; what follows is given the time of a collective.
        if meeting.store.add("loaded", 1) == ranks * stages:
            meeting.store.set("all loaded", "yes")
        meeting.store.wait(["all loaded"], timedelta(seconds=LOAD_SECONDS))
        dist.init_process_group(
            "nccl" if self._nccl else "gloo",
            store=meeting.store,
            rank=rank,
            world_size=ranks * stages,
            timeout=timedelta(seconds=seconds),
        )
        # Every rank takes part in making every group.
        groups = [dist.new_group([*range(first, first + ranks)]) for first in range(0, ranks * stages, ranks)]
        self._group = groups[self.stage]
        # NCCL connects at the first use; what the ranks met by may be gone at any later one.
        self.sum(torch.zeros(1, device=device))
        if self.stage:
            self.receive((1, 1), torch.float32)
        if self.stage < stages - 1:
            self.send(torch.zeros(1, 1, device=device))

    def computed(self) -> None:
        """Count a pass that this rank has computed, before it is passed on."""
        self._steps[0] += 1

    def send(self, x: Tensor) -> None:
        """Pass hidden states [n, hidden] on to the next stage. Returns before they are taken, but only one
        pass waits."""
        self._enter()
        if self._sending is not None:
            self._sending[0].wait()
        content = x.contiguous() if self._nccl else _raw(x.contiguous())
        self._sending = dist.isend(content, self._all_rank + self.ranks), content

    def receive(self, shape: tuple[int, int], dtype: torch.dtype) -> Tensor:
        """Hidden states [n, hidden] from the stage before."""
        self._enter()
        x = torch.empty(shape, dtype=dtype, device=self._device)
        dist.recv(x if self._nccl else _raw(x), self._all_rank - self.ranks)
        return x

    def sum(self, x: Tensor) -> Tensor:
        """The sum of every x in the stage, the same bits on all of its ranks; may reuse x.

        On CPUs the parts are added rank after rank, in float32, and rounded once. A ring would add the
        elements of different places in different orders, and a token's bits would depend on its neighbours.
        """
        self._enter()
        if self._nccl:
            dist.all_reduce(x, group=self._group)
            return x
        parts = self._all(x)
        total = parts[0].float()
        for part in parts[1:]:
            total += part
        return total.to(x.dtype)

    def largest(self, x: Tensor) -> Tensor:
        """The element-wise maximum of every x in the stage; a NaN stays."""
        self._enter()
        if self._nccl:
            out = x.new_empty(self.ranks, *x.shape)
            dist.all_gather_into_tensor(out, x.contiguous(), group=self._group)
            return out.amax(0)
        return self._all(x).amax(0)

    def gather(self, x: Tensor, sizes: list[int]) -> Tensor | None:
        """Every x [n, sizes[rank]] of the stage, side by side on its rank 0; None on the others."""
        self._enter()
        widest = max(sizes)
        padded = x.new_zeros(len(x), widest)
        padded[:, : x.shape[1]] = x
        first = self._all_rank - self.rank
        if self.rank:
            dist.gather(padded, None, dst=first, group=self._group)
            return None
        parts = [torch.empty_like(padded) for _ in sizes]
        dist.gather(padded, parts, dst=first, group=self._group)
        return torch.cat([part[:, :size] for part, size in zip(parts, sizes, strict=True)], dim=1)

    def _enter(self) -> None:
        self._steps[1] += 1

    def _all(self, x: Tensor) -> Tensor:
        """[ranks, *x.shape]; as bytes, which gloo knows for every dtype."""
        parts = x.new_empty(self.ranks, *x.shape)
        dist.all_gather([_raw(part) for part in parts.unbind()], _raw(x), group=self._group)
        return parts


def _raw(x: Tensor) -> Tensor:
    return x.flatten().view(torch.uint8)
