"""One rank: it loads its part of the model and does what it is told, one thing after the other."""

from __future__ import annotations

import os
import queue
import select
import signal
import socket
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from model.attention import select_attention
from model.executor import LocalExecutor
from model.hardware import resolve_dtype
from model.kv.pool import KVPool
from model.llama.rope import Rope
from model.loading import blocks_for, kind_of, load_weights
from model.options import EngineOptions
from model.parallel.channel import Channel, tensor_from
from model.parallel.group import Group, Meeting
from model.parallel.shard import Split
from model.parallel.stage import Stage
from model.weights.checkpoint import open_checkpoint


@dataclass(frozen=True)
class Job:
    """What a worker is told first.

    Attributes:
        rank: of all; those of a stage follow each other.
        device: "cpu" or "cuda:N".
        dtype: such as "float32"; of activations, KV cache and dense weights.
        int8: whether matrices are held in eight bits.
        threads: of each CPU operation.
    """

    checkpoint: Path
    rank: int
    device: str
    dtype: str
    int8: bool
    options: EngineOptions
    threads: int


@dataclass(frozen=True)
class Loaded:
    """What a worker says when it is ready."""

    blocks: int
    attention: str


class Worker:
    """One rank's part of a model. Every rank is told the same, in the same order."""

    def __init__(self, job: Job, meeting: Meeting) -> None:
        """Load the part and meet the other ranks.

        Raises:
            CheckpointError: the weights cannot be read.
            HardwareError: no room for a single chunk of KV cache, or no such attention backend.
        """
        torch.set_num_threads(job.threads)
        device, options = torch.device(job.device), job.options
        if device.type == "cuda":
            torch.cuda.set_device(device)
        checkpoint = open_checkpoint(job.checkpoint)
        stage, rank = divmod(job.rank, options.processes)
        split = Split(checkpoint.config, rank, options.processes)
        self._stage = Stage(split.part, stage, options.stages)
        part, dtype = self._stage.part, resolve_dtype(job.dtype)
        weights = "int8" if job.int8 else "dense"
        model = load_weights(checkpoint, split.part, device, dtype, weights, split.cut, self._stage.keep)
        # Collectives take as long as the slowest rank; the parent ends everybody before this runs out.
        seconds = options.process_seconds + 60
        self._group = Group(job.rank, options.processes, options.stages, device, meeting, seconds)
        self._stage.join(model, self._group)
        split.join(model, self._group, embeds=self._stage.first)
        blocks = blocks_for(
            part, device, dtype, options, words=checkpoint.config.vocab_size, weights=kind_of(model)
        )
        pool = KVPool(part.layers, blocks, options.block_size, part.kv_heads, part.head_dim, device, dtype)
        attend = select_attention(
            device, dtype, options.attention, head_dim=part.head_dim, block_size=options.block_size
        )
        rope = Rope.of(checkpoint.config, device, checkpoint.rope_divisors)
        self._executor = LocalExecutor(model, rope, attend, pool)
        self._shape = (part.layers, 2, options.block_size, part.kv_heads, part.head_dim)
        words = [Split(checkpoint.config, each, options.processes).words for each in range(options.processes)]
        self._sizes = [last - first for first, last in words]
        self.loaded = Loaded(pool.blocks, attend.name)

    @torch.inference_mode()
    def do(self, command: str, arguments: tuple[Any, ...], raw: bytes | bytearray) -> Tensor | None:
        """One command of `ParallelExecutor`; gives the tensor that it answers with, if any."""
        if command == "logits":
            return self._logits(*arguments)
        if command == "read":
            return self._executor.read(*arguments).contiguous()
        if command == "load":
            self._executor.load(arguments[0], tensor_from(bytearray(raw), self._executor.dtype, self._shape))
            return None
        raise ValueError(f"unknown command {command!r}")

    def _logits(self, tokens: Any, segments: Any, rows: Any) -> Tensor | None:
        """One pass; the first rank of the last stage has its logits."""
        if not self._stage.last:
            hidden = self._executor.forward(tokens, segments)
            self._group.computed()
            self._group.send(hidden)
            return None
        logits = self._executor.logits(tokens, segments, rows).values
        whole = self._group.gather(logits, self._sizes) if self._group.ranks > 1 else logits
        self._group.computed()
        return None if whole is None else whole.cpu()


def serve(channel: Channel, folder: Path, rank: int, world: int) -> None:
    """Load what the first message says, then answer commands until the parent closes its end."""
    inbox: queue.SimpleQueue[tuple[Any, bytearray] | None] = queue.SimpleQueue()

    def take_in() -> None:
        # Whatever this rank is doing, the parent can send: otherwise both might wait for each other.
        try:
            while True:
                inbox.put(channel.receive())
        except (EOFError, OSError):
            inbox.put(None)

    threading.Thread(target=take_in, name="inbox", daemon=True).start()
    try:
        if (first := inbox.get()) is None:
            return
        worker = Worker(first[0], Meeting.in_folder(folder, rank, world))
        channel.send(worker.loaded)
        while (said := inbox.get()) is not None:
            (command, arguments), raw = said
            channel.send(None, worker.do(command, arguments, raw))
    except (EOFError, ConnectionError):
        return
    except Exception as error:  # the parent ends all ranks, and its requests with this
        channel.send(told(error))
        while inbox.get() is not None:
            pass


def told(error: Exception) -> Exception:
    """An error as the parent can take it in: it knows those of this package, of others the words."""
    known = type(error).__module__.startswith("model.")
    return error if known else RuntimeError(f"{type(error).__name__}: {error}")


def leave_with(parent: int) -> None:
    """End this process as soon as its parent ends, however that ends, whatever this process is doing.

    A socket's end of file would not do: processes that the parent has forked may hold its end open. Nor would
    PR_SET_PDEATHSIG, which speaks of the thread that started us.
    """

    def watch() -> None:
        try:
            select.select([os.pidfd_open(parent)], [], [])
        except (AttributeError, OSError):  # no such call here, or the parent is gone already
            while os.getppid() == parent:
                threading.Event().wait(0.5)
        os._exit(1)

    threading.Thread(target=watch, name="parent-watch", daemon=True).start()
    if os.getppid() != parent:
        os._exit(1)


def main() -> None:
    """Arguments: the parent's process id, the number of the socket to it, where the ranks meet, which rank
    this is, of how many."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # from a terminal it goes to us too; the parent decides
    leave_with(int(sys.argv[1]))
    try:
        channel = Channel(socket.socket(fileno=int(sys.argv[2])))
        serve(channel, Path(sys.argv[3]), int(sys.argv[4]), int(sys.argv[5]))
    except (EOFError, OSError):
        pass  # the parent has closed its end
    finally:
        # Tearing down a group whose other ranks are gone can wait for them.
        os._exit(0)
