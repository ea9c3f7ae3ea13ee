"""Parsing children, forked from a process that has loaded the parsers: to start one takes milliseconds.

The server is one for each process of the service, a fresh interpreter with an empty environment. It is
started with the first document and again whenever it is gone.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from ingest.fork_server import ANSWER, ENDED, LENGTH

ROOT = str(Path(__file__).resolve().parent.parent)
# -I: nothing of the user's environment or folder; a checkout needs the package's own folder added.
_START = "import sys; sys.path.append(sys.argv[1]); from ingest.fork_server import main; main()"

ANSWER_SECONDS = 120.0
"""A server that has not answered by then is replaced; to start takes it less than one."""


@dataclass(eq=False)
class Child:
    """A parsing process: its id, what it sends and says, and the line on which its end is reported."""

    pid: int
    stdout: IO[bytes]
    stderr: IO[bytes]
    line: socket.socket
    peak_bytes: int = field(default=0, init=False)
    """The most memory that it took, what it shares with the server included; known once it has ended."""
    _status: int | None = field(default=None, init=False)

    def wait(self) -> int:
        """Return how it ended, as `subprocess` puts it, once it has: killed, where its server was."""
        if self._status is not None:
            return self._status
        said, status = b"", int(-signal.SIGKILL)
        with contextlib.suppress(ConnectionError):
            while len(said) < ENDED.size and (part := self.line.recv(ENDED.size - len(said))):
                said += part
        if len(said) == ENDED.size:
            status, kib = ENDED.unpack(said)
            self.peak_bytes = kib << 10
        self._status = status
        return status

    def end(self) -> None:
        """Kill its process group and return once it is gone."""
        self.stdout.close()
        self.stderr.close()
        with contextlib.suppress(OSError):
            self.line.shutdown(socket.SHUT_WR)
        self.wait()
        self.line.close()


class ForkServer:
    """The server of this process; threads may share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._owner = 0

    @property
    def pid(self) -> int | None:
        """The server's process id, None while there is none."""
        return None if self._process is None else self._process.pid

    def start(self, specification: str, folder: str) -> Child:
        """Fork a child that parses what the specification says, in the folder. Raises OSError."""
        with contextlib.ExitStack() as theirs, contextlib.ExitStack() as ours:
            where = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            theirs.callback(os.close, where)
            pipes: list[IO[bytes]] = []
            far_ends: list[int] = []
            for _ in range(2):
                near, far = os.pipe()
                theirs.callback(os.close, far)
                pipes.append(ours.enter_context(os.fdopen(near, "rb", buffering=0)))
                far_ends.append(far)
            line, far_line = socket.socketpair()
            theirs.enter_context(far_line)
            ours.enter_context(line)
            pid = self._ask(specification.encode(), (*far_ends, far_line.fileno(), where))
            if pid < 0:
                raise OSError(-pid, f"no process can be started to read a document: {os.strerror(-pid)}")
            ours.pop_all()
            return Child(pid, pipes[0], pipes[1], line)

    def _ask(self, specification: bytes, fds: tuple[int, ...]) -> int:
        """The server's answer; one that is gone is replaced once."""
        with self._lock:
            for _ in range(2):
                control = self._connected()
                try:
                    socket.send_fds(control, [LENGTH.pack(len(specification))], fds)
                    control.sendall(specification)
                    answer = control.recv(ANSWER.size, socket.MSG_WAITALL)
                    if len(answer) == ANSWER.size:
                        return int(ANSWER.unpack(answer)[0])
                except (ConnectionError, TimeoutError):
                    pass
                self._stop()
        raise OSError("the process that reads documents does not stay up; what it said is on standard error")

    def _connected(self) -> socket.socket:
        if self._control is not None and self._owner == os.getpid():
            return self._control
        ours, theirs = socket.socketpair()
        ours.settimeout(ANSWER_SECONDS)
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603  # our own interpreter and program
                [sys.executable, "-I", "-B", "-X", "utf8", "-c", _START, ROOT],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                env={"OMP_NUM_THREADS": "1", "OMP_THREAD_LIMIT": "1", "OPENBLAS_NUM_THREADS": "1"},
                close_fds=True,
                start_new_session=True,
                cwd="/",
            )
        self._control, self._owner = ours, os.getpid()
        return ours

    def stop(self) -> None:
        """End the server, and the children that are left with it."""
        with self._lock:
            if self._owner == os.getpid():
                self._stop()

    def _stop(self) -> None:
        if self._control is not None:
            self._control.close()
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._control = self._process = None


SERVER = ForkServer()
"""The one of this process."""
atexit.register(SERVER.stop)
