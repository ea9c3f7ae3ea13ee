"""The program from which parsing children are forked. Started by `forking.py`, never imported by the service.

It has loaded the parsers and waits, in one thread. It never opens a document and takes nothing from a child
but how it ended, so no document reaches the next one's child. Its standard input is the service's control
socket: when that closes, it ends, and its children with it.
"""

from __future__ import annotations

import contextlib
import gc
import os
import selectors
import signal
import socket
import struct
import sys
import traceback
from importlib import import_module
from pathlib import Path
from typing import NoReturn

LENGTH = struct.Struct("<I")
ANSWER = struct.Struct("<i")
"""A child's id or, below zero, the number of the error."""
ENDED = struct.Struct("<iq")
"""How a child ended, as `subprocess` puts it, and the KiB of memory that it took at most."""
FDS = 4
"""What comes with a request: standard output, standard error, the line about the child, its folder."""
IDLE_SECONDS = 300.0
"""So long without work the memory is given back; the next document starts another server."""


def main() -> None:
    """Serve until the control socket closes, or nothing was asked for long."""
    control = socket.socket(fileno=os.dup(0))
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    _load_parsers()
    from ingest import confine  # noqa: PLC0415

    confine.hide_memory()
    confine.adopt_orphans()
    gc.collect()
    gc.freeze()  # so that a child's collections do not copy what all share
    _Server(control).run()


def _load_parsers() -> None:
    import_module("ingest.sandbox_child")
    folder = Path(__file__).parent / "parsers"
    for path in sorted(folder.glob("*.py")):
        if path.stem != "__init__":
            import_module(f"ingest.parsers.{path.stem}")


class _Server:
    """Forks on request, ends children when asked to, and reports how they ended."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._children: dict[int, socket.socket] = {}
        self._selector = selectors.DefaultSelector()
        self._selector.register(control, selectors.EVENT_READ)
        woken, wake = socket.socketpair()
        for end in (woken, wake):
            end.setblocking(False)
        self._woken, self._wake = woken, wake
        self._selector.register(woken, selectors.EVENT_READ)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wake.fileno())

    def run(self) -> None:
        """Answer until nobody asks any more."""
        while True:
            ready = self._selector.select(None if self._children else IDLE_SECONDS)
            if not ready and not self._children:
                return
            for key, _ in ready:
                if key.fileobj is self._control:
                    if not self._take():
                        return
                elif key.fileobj is self._woken:
                    with contextlib.suppress(BlockingIOError):
                        self._woken.recv(4096)
                else:  # nobody waits for this child any more
                    self._selector.unregister(key.fileobj)
                    _kill(key.data)
            self._reap()

    def _take(self) -> bool:
        """One request: fork. False when the service has gone."""
        head, fds, _, _ = socket.recv_fds(self._control, LENGTH.size, FDS)
        specification = b""
        if len(head) < LENGTH.size:
            return False
        (length,) = LENGTH.unpack(head)
        while len(specification) < length:
            part = self._control.recv(length - len(specification))
            if not part:
                return False
            specification += part
        out, err, line, folder = fds
        server = os.getpid()
        try:
            pid = os.fork()
        except OSError as error:
            pid = -(error.errno or 1)
        if pid == 0:
            _become(specification.decode(), server, out, err, folder)
        for fd in (out, err, folder):
            os.close(fd)
        about = socket.socket(fileno=line)
        if pid > 0:
            self._children[pid] = about
            self._selector.register(about, selectors.EVENT_READ, pid)
        else:
            about.close()
        self._control.sendall(ANSWER.pack(pid))
        return True

    def _reap(self) -> None:
        """Report the children that have ended, and end what they may have left in their groups."""
        for pid, line in list(self._children.items()):
            # its id stays taken until it is waited for, so the group that is killed is its own
            if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
                continue
            _kill(pid)
            _, status, used = os.wait4(pid, 0)
            with contextlib.suppress(ChildProcessError):  # its helper, which came here when it ended
                while True:
                    os.waitpid(-pid, 0)
            report = os.waitstatus_to_exitcode(status), used.ru_maxrss
            del self._children[pid]
            with contextlib.suppress(KeyError):
                self._selector.unregister(line)
            with contextlib.suppress(OSError):
                line.sendall(ENDED.pack(*report))
            line.close()


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
    with contextlib.suppress(ProcessLookupError):  # before it has a group
        os.kill(pid, signal.SIGKILL)


def _become(specification: str, server: int, out: int, err: int, folder: int) -> NoReturn:
    """Turn this fork into a parsing child: with nothing open but its pipes, in a group of its own."""
    status = 1
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.dup2(out, 1)
        os.dup2(err, 2)
        os.fchdir(folder)
        os.closerange(3, 1 << 16)
        os.setsid()
        from ingest.sandbox_child import main as parse  # noqa: PLC0415

        parse(specification, server)
        status = 0
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(status)
