"""The ranks' processes: on which devices, how they are started and ended, and how one came to its end."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import torch

from model.errors import HardwareError
from model.parallel.channel import Channel

Rank = tuple["subprocess.Popen[bytes]", Channel]
"""A process and our end of the sockets between us."""


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


def start() -> Rank:
    """Start a fresh interpreter that waits for its `model.parallel.worker.Job`."""
    ours, theirs = socket.socketpair()
    # The same packages as here, whatever this process was started from.
    paths = [str(Path(__file__).resolve().parents[2]), *filter(None, sys.path)]
    code = "from model.parallel.worker import main; main()"
    # -P: the folder that we happen to be in holds no packages of ours.
    command = [sys.executable, "-P", "-c", code, str(os.getpid()), str(theirs.fileno())]
    with theirs:
        process = subprocess.Popen(  # noqa: S603 - our own interpreter and code
            command,
            stdin=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
            env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
        )
    return process, Channel(ours)


def end(ranks: list[Rank]) -> None:
    """Kill them all, and wait until they are gone."""
    for process, channel in ranks:
        channel.close()
        process.kill()  # works on one that is stopped, too; there is nothing that it would have to save
    for process, _ in ranks:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(10)


def stopped(rank: Rank) -> bool:
    """Whether a process was stopped by a signal or a debugger; False where the system does not say."""
    try:
        state = Path(f"/proc/{rank[0].pid}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return False
    return state in {"T", "t"}


def ending(code: int) -> str:
    """How a process ended, in words, by its `returncode`."""
    if code >= 0:
        return f"ended with exit code {code}"
    return f"was killed by {signal.Signals(-code).name}"
