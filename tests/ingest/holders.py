"""Processes that hold a copy of a document until a test kills them."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

CANARY = b"a canary in a copy"

HOLDING = f"""
import sys
from pathlib import Path
from ingest.locks import held_folder
with held_folder(Path(sys.argv[1]), sys.argv[2]) as folder:
    (folder / "part").write_bytes({CANARY!r})
    print(folder, flush=True)
    input()
"""


class Holder:
    """A process that holds a copy until it is killed."""

    def __init__(self, program: str, *arguments: str, temporary: Path | None = None) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", program, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={"TMPDIR": str(temporary)} if temporary else None,
            cwd=Path(__file__).parents[2],
        )
        assert self._process.stdout is not None
        self.path = Path(self._process.stdout.readline().strip())

    def kill(self) -> None:
        self._process.send_signal(signal.SIGKILL)
        self._process.communicate()
