"""One rank of an engine as an actor, and where the ranks find each other: both over Ray's own connections, so
that there is no port to guard beside Ray's."""

from __future__ import annotations

import fcntl
import os
import socket
import struct
import threading
from datetime import timedelta
from typing import Any

import torch.distributed as dist

from api.cluster.joining import load_ray
from model.parallel.channel import tensor_bytes
from model.parallel.group import Meeting
from model.parallel.progress import fresh_steps
from model.parallel.worker import Job, Loaded, Worker, told

_SIOCGIFADDR = 0x8915
LOOK = "look"
"""Calls that are answered whatever the rank is computing."""


class MeetingPlace:
    """What ranks tell each other when they meet. Only who has this actor's handle reaches it."""

    def __init__(self) -> None:
        self._said: dict[str, bytes] = {}

    def set(self, key: str, value: bytes) -> None:
        """Tell the others something."""
        self._said[key] = value

    def get(self, key: str) -> bytes | None:
        """What was told; None where nothing was yet."""
        return self._said.get(key)

    def add(self, key: str, amount: int) -> int:
        """Count something, beginning at 0."""
        count = int(self._said.get(key, b"0")) + amount
        self._said[key] = str(count).encode()
        return count


class MeetingStore(dist.Store):  # type: ignore[name-defined,misc] # torch says nothing of it
    """A `MeetingPlace` as the store by which gloo and NCCL meet."""

    def __init__(self, place: Any, seconds: float) -> None:
        super().__init__()
        self._place, self._seconds, self._ray = place, seconds, load_ray()

    def set(self, key: str, value: str | bytes) -> None:
        """As torch's."""
        raw = value if isinstance(value, bytes) else value.encode()
        self._ray.get(self._place.set.remote(key, raw), timeout=self._seconds)

    def get(self, key: str) -> bytes:
        """As torch's: waits until it is there. Raises TimeoutError."""
        found = self._found(key, self._seconds)
        if found is None:
            raise TimeoutError(f"no other rank has said {key} within {self._seconds:g} seconds")
        return found

    def add(self, key: str, amount: int) -> int:
        """As torch's."""
        return int(self._ray.get(self._place.add.remote(key, amount), timeout=self._seconds))

    def check(self, keys: list[str]) -> bool:
        """Whether all are there."""
        return all(self._found(key, 0) is not None for key in keys)

    def wait(self, keys: list[str], timeout: timedelta | None = None) -> None:
        """As torch's. Raises TimeoutError."""
        seconds = self._seconds if timeout is None else timeout.total_seconds()
        for key in keys:
            if self._found(key, seconds) is None:
                raise TimeoutError(f"no other rank has said {key} within {seconds:g} seconds")

    def _found(self, key: str, seconds: float) -> bytes | None:
        pause = threading.Event()
        for _ in range(1 + int(seconds / 0.05)):
            found: bytes | None = self._ray.get(self._place.get.remote(key), timeout=self._seconds)
            if found is not None or not seconds:
                return found
            pause.wait(0.05)
        return None


class RankHost:
    """A rank that its parent asks by calls, which are answered in their order."""

    def __init__(self) -> None:
        self._steps = fresh_steps()
        self._worker: Worker | None = None

    def place(self) -> tuple[str, str, list[str]]:
        """The machine's address and Ray's name for it, and the GPUs that Ray gave this rank there."""
        ray = load_ray()
        context = ray.get_runtime_context()
        gpus = [str(each) for each in ray.get_gpu_ids()]
        return ray.util.get_node_ip_address(), context.get_node_id(), gpus

    def load(self, job: Job, meeting: Any, gpus: list[str]) -> tuple[Loaded | Exception, bytes]:
        """Load the rank's part and meet the others.

        Args:
            meeting: the `MeetingPlace`.
            gpus: of all ranks on this machine: NCCL wants to see those of the others.
        """
        if gpus:
            os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(gpus)
        address = load_ray().util.get_node_ip_address()
        try:
            store = MeetingStore(meeting, job.options.process_seconds)
            self._worker = Worker(job, Meeting(store, interface_of(address), self._steps))
        except Exception as error:  # the parent ends all ranks with it
            return told(error), b""
        return self._worker.loaded, b""

    def do(
        self, command: str, arguments: tuple[Any, ...], raw: bytes
    ) -> tuple[Exception | None, bytes | memoryview]:
        """As `Worker.do`."""
        if self._worker is None:
            return RuntimeError("told to work before it has loaded"), b""
        try:
            answer = self._worker.do(command, arguments, raw)
        except Exception as error:  # the parent ends all ranks with it
            return told(error), b""
        return None, b"" if answer is None else bytes(tensor_bytes(answer))

    def steps(self) -> tuple[int, int]:
        """How far it is (`model.parallel.progress`)."""
        return int(self._steps[0]), int(self._steps[1])

    def live(self) -> None:
        """Answers only by an end."""
        threading.Event().wait()


def interface_of(address: str) -> str:
    """The network interface with an address; empty where there is none such, or the system does not say."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        for _, name in socket.if_nameindex():
            try:
                raw = fcntl.ioctl(asking, _SIOCGIFADDR, struct.pack("256s", name[:15].encode()))
            except OSError:  # it has no IPv4 address
                continue
            if socket.inet_ntoa(raw[20:24]) == address:
                return name
    return ""
