"""What the parsing child gives up before it touches the document: memory, time, files, network, programs."""

from __future__ import annotations

import ctypes
import os
import platform
import resource
import signal
import struct
import sys

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_SECCOMP = 22
_PR_SET_NO_NEW_PRIVS = 38
_SECCOMP_MODE_FILTER = 2

# linux/audit.h and the kernel's system call tables: socket, connect, bind, listen, accept, accept4, sendto,
# sendmsg, socketpair, fork, vfork, execve, execveat, ptrace, process_vm_readv, process_vm_writev.
_ARCHITECTURES: dict[str, tuple[int, tuple[int, ...]]] = {
    "x86_64": (0xC000003E, (41, 42, 43, 49, 50, 288, 44, 46, 53, 57, 58, 59, 322, 101, 310, 311)),
    "aarch64": (0xC00000B7, (198, 203, 202, 200, 201, 242, 206, 211, 199, 221, 281, 117, 270, 271)),
}


def limit_resources(memory_bytes: int, cpu_seconds: int) -> None:
    """Sets hard limits: address space, CPU time, no file written, no core, few descriptors."""
    for which, value in (
        (resource.RLIMIT_AS, memory_bytes),
        (resource.RLIMIT_CPU, cpu_seconds),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, 64),
    ):
        _, hard = resource.getrlimit(which)
        limit = value if hard == resource.RLIM_INFINITY else min(value, hard)
        try:
            resource.setrlimit(which, (limit, limit))
        except (ValueError, OSError):
            if sys.platform == "linux":  # macOS knows RLIMIT_AS by name only
                raise


def die_with_parent(parent: int) -> None:
    """On Linux the kernel ends this process when its parent ends, however that happens."""
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def forbid_system_calls() -> bool:
    """On Linux: no socket, no new process, no look into other ones, by a seccomp filter (seccomp(2)).

    Returns False where the kernel or the machine offers none; the other limits still hold.
    """
    known = _ARCHITECTURES.get(platform.machine())
    if sys.platform != "linux" or known is None:
        return False
    architecture, denied = known
    errno_eperm = 0x00050000 | 1
    # struct sock_filter {u16 code; u8 jt; u8 jf; u32 k;}: load arch, compare; load number, compare each.
    program = [struct.pack("<HBBI", 0x20, 0, 0, 4), struct.pack("<HBBI", 0x15, 1, 0, architecture)]
    program.append(struct.pack("<HBBI", 0x06, 0, 0, errno_eperm))
    program.append(struct.pack("<HBBI", 0x20, 0, 0, 0))
    for index, number in enumerate(denied):
        program.append(struct.pack("<HBBI", 0x15, len(denied) - index, 0, number))
    program.append(struct.pack("<HBBI", 0x06, 0, 0, 0x7FFF0000))
    program.append(struct.pack("<HBBI", 0x06, 0, 0, errno_eperm))
    code = ctypes.create_string_buffer(b"".join(program))

    class Program(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))

    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        return False
    libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    argument = Program(len(program), ctypes.addressof(code))
    return bool(libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(argument), 0, 0) == 0)
