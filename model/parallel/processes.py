"""Ranks as child processes of this one: on which devices, how they start and end, how one came to its end."""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from model.errors import HardwareError
from model.options import EngineOptions
from model.parallel.channel import Channel
from model.parallel.crew import Place
from model.parallel.progress import SharedProgress

_LOOK_SECONDS = 0.5


class LocalCrew:
    """A crew of children, each a fresh interpreter. See `model.parallel.crew.Crew`.

    Attributes:
        pids: the processes' numbers, by rank.
    """

    grace = 1.0

    def __init__(self, device: torch.device, options: EngineOptions) -> None:
        """Start them. Raises HardwareError where there are fewer GPUs than ranks."""
        world = options.world
        threads = max(1, torch.get_num_threads() // world)
        self.places: Sequence[Place] = [Place(each, threads) for each in devices(device, world)]
        self._folder = Path(tempfile.mkdtemp(prefix="longleaf-ranks-"))
        self._progress = SharedProgress(self._folder, world, create=True)
        started = [_start(self._folder, rank, world) for rank in range(world)]
        self._processes = [process for process, _ in started]
        self._channels = [channel for _, channel in started]
        self.pids = [process.pid for process in self._processes]

    def send(self, rank: int, value: Any, tensor: Tensor | None, deadline: float) -> None:
        """See `Crew`."""
        self._channels[rank].send(value, tensor, deadline)

    def ready(self, ranks: Sequence[int], deadline: float) -> list[int]:
        """See `Crew`."""
        channels = {self._channels[rank].fileno(): rank for rank in ranks}
        poll = select.poll()
        for number in channels:
            poll.register(number, select.POLLIN)
        while (left := deadline - time.monotonic()) > 0:
            if found := poll.poll(min(left, _LOOK_SECONDS) * 1000):
                return [channels[number] for number, _ in found]
            # A process forked off this one may hold a dead rank's socket open.
            if self.deaths():
                raise EOFError
        raise TimeoutError

    def receive(self, rank: int, deadline: float) -> tuple[Any, bytearray]:
        """See `Crew`."""
        return self._channels[rank].receive(deadline)

    def deaths(self) -> dict[int, str]:
        """See `Crew`."""
        codes = [(rank, process.poll()) for rank, process in enumerate(self._processes)]
        return {rank: ending(code) for rank, code in codes if code is not None}

    def unreachable(self) -> list[int]:
        """See `Crew`."""
        return [rank for rank, process in enumerate(self._processes) if _stopped(process)]

    def steps(self) -> dict[int, tuple[int, int]]:
        """See `Crew`."""
        return self._progress.all()

    def met(self) -> None:
        """See `Crew`."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def end(self) -> None:
        """See `Crew`; waits until they are gone."""
        for process, channel in zip(self._processes, self._channels, strict=True):
            channel.close()
            process.kill()  # works on one that is stopped, too; there is nothing that it would have to save
        for process in self._processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(10)
        self.met()


def devices(device: torch.device, ranks: int) -> list[str]:
    """A device for each rank: consecutive GPUs from the given one on, or the one CPU.

    Raises:
        HardwareError: there are fewer GPUs.
    """
    if device.type == "cpu":
        return ["cpu"] * ranks
    first, there = device.index or 0, torch.cuda.device_count()
    if first + ranks > there:
        raise HardwareError(f"{ranks} processes want GPUs {first} to {first + ranks - 1}; there are {there}")
    return [f"{device.type}:{first + rank}" for rank in range(ranks)]


def _start(folder: Path, rank: int, world: int) -> tuple[subprocess.Popen[bytes], Channel]:
    ours, theirs = socket.socketpair()
    # The same packages as here, whatever this process was started from.
    paths = [str(Path(__file__).resolve().parents[2]), *filter(None, sys.path)]
    code = "from model.parallel.worker import main; main()"
    told = [os.getpid(), theirs.fileno(), folder, rank, world]
    # -P: the folder that we happen to be in holds no packages of ours.
    command = [sys.executable, "-P", "-c", code, *map(str, told)]
    with theirs:
        process = subprocess.Popen(  # noqa: S603 - our own interpreter and code
            command,
            stdin=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
            env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
        )
    return process, Channel(ours)


def _stopped(process: subprocess.Popen[bytes]) -> bool:
    """Whether a process was stopped by a signal or a debugger; False where the system does not say."""
    try:
        state = Path(f"/proc/{process.pid}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return False
    return state in {"T", "t"}


def ending(code: int) -> str:
    """How a process ended, in words, by its `returncode`."""
    if code >= 0:
        return f"ended with exit code {code}"
    return f"was killed by {signal.Signals(-code).name}"
