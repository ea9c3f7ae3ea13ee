"""Which of the limits of a parsing child hold on this machine: a child tries what none may do."""

from __future__ import annotations

import json
import subprocess
import sys

from ingest.forking import ROOT

FORBIDDEN = ("open sockets", "start processes", "write files", "take more memory")
"""What a parsing child must not be able to do."""
_MEMORY_BYTES = 512 * 1024**2
_TRIAL = f"""
import json, os, socket, sys, tempfile
sys.path.append(sys.argv[1])
from ingest import confine
confine.limit_resources({_MEMORY_BYTES}, 20)
confine.forbid_system_calls()
done = []
def attempt(what, work):
    try:
        work()
    except (OSError, MemoryError):
        return
    done.append(what)
def fork():
    if os.fork() == 0:
        os._exit(0)
def write():
    with tempfile.TemporaryFile() as file:
        file.write(b"x")
attempt("open sockets", socket.socket)
attempt("start processes", fork)
attempt("write files", write)
attempt("take more memory", lambda: bytearray({2 * _MEMORY_BYTES}))
sys.stdout.write(json.dumps(done))
sys.stdout.flush()
os._exit(0)
"""


def what_is_possible() -> list[str]:
    """Those of `FORBIDDEN` that a child could do all the same; none where every limit holds.

    Raises OSError where no child can be started, or it does not come to an end.
    """
    try:
        ended = subprocess.run(  # noqa: S603  # our own interpreter and program
            [sys.executable, "-I", "-B", "-c", _TRIAL, ROOT],
            capture_output=True,
            timeout=60,
            env={},
            check=True,
        )
        found: list[str] = json.loads(ended.stdout)
    except (subprocess.SubprocessError, ValueError) as error:
        said = getattr(error, "stderr", None) or b""
        raise OSError(
            f"the trial did not come to an end: {error} {said.decode('utf-8', 'replace')[-300:]}"
        ) from error
    return found
