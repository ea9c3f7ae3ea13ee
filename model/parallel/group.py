"""The process group: what the ranks of one model ask of each other, over gloo on CPUs and NCCL on GPUs."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

_PROGRESS, _STORE = "progress", "store"


class Progress:
    """How many collectives each rank has entered, in memory that all processes share.

    When nothing moves any more, the ranks that are behind are those that the others wait for.
    """

    def __init__(self, folder: Path, ranks: int, *, create: bool = False) -> None:
        self._counts = np.memmap(folder / _PROGRESS, np.uint64, "w+" if create else "r+", shape=(ranks,))

    def step(self, rank: int) -> None:
        """Count one more."""
        self._counts[rank] += np.uint64(1)

    def behind(self) -> list[int]:
        """The ranks that entered fewer collectives than others; empty where all are equal."""
        counts = self._counts.tolist()
        return [rank for rank, count in enumerate(counts) if count < max(counts)]


class Group:
    """One rank's view of the group.

    Attributes:
        rank, ranks: which this is, of how many.
    """

    def __init__(self, rank: int, ranks: int, device: torch.device, folder: Path, seconds: float) -> None:
        """Meet the other ranks; returns when all are there.

        The ranks find each other by a file in a folder of the parent's own, and talk over the loopback
        interface (GPUs: over what NCCL finds between them), so there is no port to agree on.

        Args:
            seconds: after which a collective gives up.
        """
        self.rank, self.ranks = rank, ranks
        self._progress = Progress(folder, ranks)
        self._nccl = device.type == "cuda"
        os.environ.setdefault("NCCL_SOCKET_IFNAME" if self._nccl else "GLOO_SOCKET_IFNAME", "lo")
        dist.init_process_group(
            "nccl" if self._nccl else "gloo",
            store=dist.FileStore(str(folder / _STORE), ranks),  # type: ignore[attr-defined]
            rank=rank,
            world_size=ranks,
            timeout=timedelta(seconds=seconds),
        )
        # NCCL connects at the first collective; the folder may be gone at any later one.
        self.sum(torch.zeros(1, device=device))

    def sum(self, x: Tensor) -> Tensor:
        """The sum of every rank's x, the same bits on all of them; may reuse x.

        On CPUs the parts are added rank after rank, in float32, and rounded once. A ring would add the
        elements of different places in different orders, and a token's bits would depend on its neighbours.
        """
        self._progress.step(self.rank)
        if self._nccl:
            dist.all_reduce(x)
            return x
        parts = self._all(x)
        total = parts[0].float()
        for part in parts[1:]:
            total += part
        return total.to(x.dtype)

    def largest(self, x: Tensor) -> Tensor:
        """The element-wise maximum of every rank's x; a NaN stays."""
        self._progress.step(self.rank)
        if self._nccl:
            out = x.new_empty(self.ranks, *x.shape)
            dist.all_gather_into_tensor(out, x.contiguous())
            return out.amax(0)
        return self._all(x).amax(0)

    def gather(self, x: Tensor, sizes: list[int]) -> Tensor | None:
        """Every rank's x [n, sizes[rank]], side by side on rank 0; None on the others."""
        self._progress.step(self.rank)
        widest = max(sizes)
        padded = x.new_zeros(len(x), widest)
        padded[:, : x.shape[1]] = x
        if self.rank:
            dist.gather(padded, None, dst=0)
            return None
        parts = [torch.empty_like(padded) for _ in sizes]
        dist.gather(padded, parts, dst=0)
        return torch.cat([part[:, :size] for part, size in zip(parts, sizes, strict=True)], dim=1)

    def _all(self, x: Tensor) -> Tensor:
        """[ranks, *x.shape]; as bytes, which gloo knows for every dtype."""
        parts = x.new_empty(self.ranks, *x.shape)
        dist.all_gather(
            [part.flatten().view(torch.uint8) for part in parts.unbind()], x.flatten().view(torch.uint8)
        )
        return parts
