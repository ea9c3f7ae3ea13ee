"""Messages between the parent and one worker: a small pickled value and the bytes of a tensor.

Pickle is safe here: both ends are this program, and nobody else holds the socket.
"""

from __future__ import annotations

import pickle
import socket
import struct
import time
from typing import Any

import torch
from torch import Tensor

_HEADER = struct.Struct(">QQ")


class Channel:
    """One end of a socket pair."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end

    def fileno(self) -> int:
        """For `select`."""
        return self._end.fileno()

    def send(self, value: Any, tensor: Tensor | None = None, deadline: float | None = None) -> None:
        """Send a value and the memory of a contiguous CPU tensor.

        Raises:
            TimeoutError: not taken before the deadline, a time of `time.monotonic`.
            OSError: the other end is gone.
        """
        content = pickle.dumps(value)
        raw = memoryview(b"") if tensor is None else tensor_bytes(tensor)
        self._limit(deadline)
        self._end.sendall(_HEADER.pack(len(content), raw.nbytes) + content)
        if raw.nbytes:
            self._limit(deadline)
            self._end.sendall(raw)

    def receive(self, deadline: float | None = None) -> tuple[Any, bytearray]:
        """The next value and bytes.

        Raises:
            TimeoutError: not there before the deadline.
            EOFError, OSError: the other end is gone.
        """
        length, size = _HEADER.unpack(self._take(_HEADER.size, deadline))
        value = pickle.loads(self._take(length, deadline))  # noqa: S301 - see the top of the file
        return value, self._take(size, deadline)

    def close(self) -> None:
        """Close this end; the other reads an end of file."""
        self._end.close()

    def _take(self, size: int, deadline: float | None) -> bytearray:
        content = bytearray(size)
        view, done = memoryview(content), 0
        while done < size:
            self._limit(deadline)
            count = self._end.recv_into(view[done:])
            if not count:
                raise EOFError("the other end is closed")
            done += count
        return content

    def _limit(self, deadline: float | None) -> None:
        self._end.settimeout(None if deadline is None else max(0.001, deadline - time.monotonic()))


def tensor_bytes(tensor: Tensor) -> memoryview:
    """The memory of a contiguous CPU tensor of any dtype."""
    array: Any = tensor.flatten().view(torch.uint8).numpy()
    return memoryview(array)


def tensor_from(raw: bytearray, dtype: torch.dtype, shape: tuple[int, ...]) -> Tensor:
    """A tensor over bytes that `tensor_bytes` gave; shares their memory."""
    if not raw:
        return torch.empty(shape, dtype=dtype)
    return torch.frombuffer(raw, dtype=torch.uint8).view(dtype).view(shape)
