"""The named steps at which a fault can strike, and the faults that a process does to itself there.

The shipped code knows nothing of this: the child program wraps its functions after importing them.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import importlib
import json
import os
import platform
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ingest.confine import FilterProgram, give, jump, load

SERVER_STEPS = {
    "upload.first_piece": ("ingest.uploads", "UploadSink.write", "after"),
    "upload.durable": ("ingest.uploads", "UploadSink.make_durable", "after"),
    "upload.in_place": ("ingest.uploads", "_enter", "before"),
    "upload.queued": ("ingest.jobs", "enqueue", "after"),
    "upload.committed": ("ingest.uploads", "_enter", "after"),
    "update.began": ("ingest.updates", "_enter", "before"),
    "update.in_place": ("ingest.updates", "_enter", "after"),
    "update.committed": ("ingest.updates", "_drop_old", "before"),
    "delete.rows": ("ingest.deletion", "_delete_rows", "after"),
    "delete.committed": ("ingest.deletion", "_finish", "before"),
    "delete.forgotten": ("rag.index.live", "LiveIndexes.forget", "after"),
    "delete.done": ("ingest.deletion", "_finish", "after"),
    "cancel.done": ("ingest.jobs", "cancel", "after"),
    "retry.done": ("ingest.jobs", "retry", "after"),
    "index.built": ("rag.index.live", "LiveIndexes._build", "after"),
    "index.follows": ("rag.index.live", "LiveIndexes._catch_up", "before"),
    "index.followed": ("rag.index.live", "LiveIndexes._catch_up", "after"),
    "snapshot.begun": ("rag.index.snapshot", "save", "before"),
    "snapshot.saved": ("rag.index.snapshot", "save", "after"),
}
WORKER_STEPS = {
    "recover.begun": ("ingest.worker", "recover", "before"),
    "recover.reclaimed": ("ingest.originals.folder", "sweep", "before"),
    "recover.swept": ("ingest.originals.folder", "sweep", "after"),
    "recover.done": ("ingest.worker", "recover", "after"),
    "lease.taken": ("ingest.jobs", "_take", "after"),
    "read.text": ("rag.store.repositories.generations", "Generations.write_text", "after"),
    "read.chunks": ("rag.store.repositories.generations", "Generations.write_chunks", "after"),
    "read.reused": ("rag.store.repositories.generations", "Generations.reuse_vectors", "after"),
    "embed.vectors": ("rag.store.repositories.generations", "Generations.write_vectors", "after"),
    "publish.completed": ("ingest.jobs", "complete", "after"),
    "publish.uncommitted": ("rag.store.repositories.generations", "Generations.publish", "after"),
    "publish.old_files": ("ingest.originals.folder", "drop_old_files", "after"),
}
PIPELINE_STEPS = ("leased", "parsed", "written", "embedded", "ready_to_publish", "published")
PARSER_STEPS = ("parser.started", "parser.sent", "parser.done")

_NO_NEW_PRIVS, _SET_FILTER, _ALL_THREADS = 38, 1, 1
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
# seccomp, openat, pwrite64, ftruncate, fsync, fdatasync; then all ways to rename, unlink and make a folder
_CALLS: dict[str, tuple[int, int, dict[str, tuple[int, ...]]]] = {
    "x86_64": (
        317,
        257,
        {
            "write": (18, 77),
            "sync": (74, 75),
            "names": (82, 264, 316, 87, 263, 83, 258, 84),
        },
    ),
    "aarch64": (
        277,
        56,
        {"write": (68, 46), "sync": (82, 83), "names": (38, 276, 35, 34)},
    ),
}


def spoil(kind: str) -> None:
    """Make this process's system calls fail from now on: `full`, `readonly` or `io` (a seccomp filter)."""
    number = {"full": errno.ENOSPC, "readonly": errno.EROFS, "io": errno.EIO}[kind]
    call, openat, groups = _CALLS[platform.machine()]
    denied = {
        "full": groups["write"],
        "readonly": groups["write"] + groups["names"],
        "io": groups["write"] + groups["sync"],
    }[kind]

    program = [load(0)]
    for each in denied:
        program += [jump(0x15, each, 0, 1), give(_ERRNO | number)]
    if kind != "io":
        mask = _WRITING if kind == "readonly" else os.O_CREAT
        program += [jump(0x15, openat, 0, 3), load(32), jump(0x45, mask, 0, 1), give(_ERRNO | number)]
    argument = FilterProgram(b"".join([*program, give(_ALLOW)]))
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0)
    if libc.syscall(call, _SET_FILTER, _ALL_THREADS, ctypes.byref(argument)) != 0:
        raise OSError(ctypes.get_errno(), "seccomp")


class Points:
    """What strikes this process: the plan lies in a file, to be laid out while the process runs."""

    def __init__(self, control: Path, name: str) -> None:
        self._plan = control / "plan"
        self._fired = control / "fired"
        self._name = name
        self._seen = 0

    def reach(self, step: str, parser: int | None = None) -> None:
        """Carry out the plan if it is for this step of this process; only one process does."""
        if not self._plan.exists():
            return
        try:
            plan = json.loads(self._plan.read_text())
        except (OSError, ValueError):  # another process was quicker
            return
        if plan["step"] != step or not self._name.startswith(plan["name"]):
            return
        self._seen += 1
        if self._seen < plan["nth"]:
            return
        self._seen = 0
        try:
            os.rename(self._plan, self._fired)
        except OSError:
            return
        who = self._fired.with_name("who")
        who.with_suffix(".new").write_text(self._name if parser is None else "")
        os.rename(who.with_suffix(".new"), who)
        if parser is not None:
            os.killpg(parser, signal.SIGKILL)
        elif plan["action"] == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        elif plan["action"] == "stop":
            os.kill(os.getpid(), signal.SIGSTOP)
        else:
            spoil(plan["action"])

    def install(self) -> None:
        """Wrap every named step; a name that is there no longer is an error, not a step never struck."""
        for step, (module, path, when) in {**SERVER_STEPS, **WORKER_STEPS}.items():
            owner: Any = importlib.import_module(module)
            *outer, name = path.split(".")
            for part in outer:
                owner = getattr(owner, part)
            setattr(owner, name, self._wrapped(getattr(owner, name), step, when))
        forking = importlib.import_module("ingest.forking")
        receiver_kind = importlib.import_module("ingest.receiving").Receiver
        start, take, end = forking.SERVER.start, receiver_kind._take, forking.Child.end

        def started(*arguments: Any) -> Any:
            child = start(*arguments)
            self.reach("parser.started", child.pid)
            return child

        def taken(receiver: Any, data: bytes) -> None:
            take(receiver, data)
            self.reach("parser.sent", receiver._child.pid)

        def ended(child: Any) -> None:
            self.reach("parser.done", child.pid)
            end(child)

        forking.SERVER.start, receiver_kind._take, forking.Child.end = started, taken, ended

    def _wrapped(self, function: Callable[..., Any], step: str, when: str) -> Callable[..., Any]:
        @functools.wraps(function)
        def around(*arguments: Any, **named: Any) -> Any:
            if when == "before":
                self.reach(step)
            result = function(*arguments, **named)
            if when == "after":
                self.reach(step)
            return result

        return around
