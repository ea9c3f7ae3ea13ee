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
_PR_SET_CHILD_SUBREAPER = 36
_PR_SET_NO_NEW_PRIVS = 38
_SECCOMP_MODE_FILTER = 2
_RETURN_EPERM = 0x00050000 | 1
_RETURN_ENOSYS = 0x00050000 | 38
_RETURN_ALLOW = 0x7FFF0000
_X32 = 0x40000000  # numbers of the x32 table, which the same kernel answers to
_CLONE_THREAD = 0x00010000
_CLONE3 = 435

# linux/audit.h and the kernel's system call tables: clone; then socket, connect, bind, listen, accept,
# accept4, sendto, sendmsg, socketpair, fork, vfork, execve, execveat, ptrace, process_vm_readv,
# process_vm_writev, io_uring_setup (which could open sockets unseen).
_ARCHITECTURES: dict[str, tuple[int, int, tuple[int, ...]]] = {
    "x86_64": (
        0xC000003E,
        56,
        (41, 42, 49, 50, 43, 288, 44, 46, 53, 57, 58, 59, 322, 101, 310, 311, 425),
    ),
    "aarch64": (
        0xC00000B7,
        220,
        (198, 203, 200, 201, 202, 242, 206, 211, 199, 221, 281, 117, 270, 271, 425),
    ),
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


def adopt_orphans() -> None:
    """On Linux: processes below this one whose parent ends become children of this one."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def hide_memory() -> None:
    """On Linux: other processes of the same user cannot look into this one's memory (PR_SET_DUMPABLE)."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def forbid_system_calls() -> bool:
    """On Linux: no socket, no new process, no look into other ones, by a seccomp filter (seccomp(2)).

    Returns False where the kernel or the machine offers none; the other limits still hold.
    """
    known = _ARCHITECTURES.get(platform.machine())
    if sys.platform != "linux" or known is None:
        return False
    program = FilterProgram(_filter(*known))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        return False
    hide_memory()
    return bool(libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0) == 0)


class FilterProgram(ctypes.Structure):
    """struct sock_fprog of instructions, each struct sock_filter {u16 code; u8 jt; u8 jf; u32 k;}."""

    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))

    def __init__(self, instructions: bytes) -> None:
        self._held = ctypes.create_string_buffer(instructions)  # for as long as the kernel may look
        super().__init__(len(instructions) // 8, ctypes.addressof(self._held))


def load(offset: int) -> bytes:
    """Take the number at `offset` of struct seccomp_data."""
    return struct.pack("<HBBI", 0x20, 0, 0, offset)


def jump(test: int, value: int, yes: int, no: int) -> bytes:
    """Pass over so many instructions, as `test` holds of the number and `value` or not."""
    return struct.pack("<HBBI", test, yes, no, value)


def give(value: int) -> bytes:
    """End with a verdict."""
    return struct.pack("<HBBI", 0x06, 0, 0, value)


def _filter(architecture: int, clone: int, denied: tuple[int, ...]) -> bytes:
    """The BPF program, over struct seccomp_data.

    clone3 hides its flags from filters; told that it does not exist, the C library takes clone, whose flags
    say whether a thread or a process is wanted.
    """
    equal, at_least, any_bit = 0x15, 0x35, 0x45
    program = [load(4), jump(equal, architecture, 1, 0), give(_RETURN_EPERM)]
    program += [load(0), jump(at_least, _X32, 0, 1), give(_RETURN_EPERM)]
    program += [jump(equal, _CLONE3, 0, 1), give(_RETURN_ENOSYS)]
    for number in denied:
        program += [jump(equal, number, 0, 1), give(_RETURN_EPERM)]
    program += [jump(equal, clone, 0, 3), load(16), jump(any_bit, _CLONE_THREAD, 1, 0), give(_RETURN_EPERM)]
    return b"".join([*program, give(_RETURN_ALLOW)])
