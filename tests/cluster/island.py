"""A Ray node behind a cable of its own: a network namespace on this machine, whose cable can be pulled."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[2]
HERE, THERE = "10.213.7.1", "10.213.7.2"
_NAME = f"longleaf-{os.getpid()}"
_NEAR, _FAR = f"ll{os.getpid() % 1_000_000}a", f"ll{os.getpid() % 1_000_000}b"


class Island:
    """The node's namespace, its cable and its processes. Needs to be root."""

    def __init__(self, address: str, log: Path, cpus: int = 2) -> None:
        """Lay the cable and start a node of the cluster at `address` on its other end."""
        self._log = log
        self._node: subprocess.Popen[bytes] | None = None
        try:
            _lay()
            inside = [
                "ip",
                "netns",
                "exec",
                _NAME,
                sys.executable,
                "-m",
                "tests.cluster.island",
                address,
                str(cpus),
            ]
            with log.open("ab") as out:
                self._node = subprocess.Popen(
                    inside, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=out, stderr=out
                )
        except BaseException:
            self.close()
            raise

    @staticmethod
    def why_not() -> str:
        """Why there can be none here; "" if there can."""
        if os.geteuid() != 0:
            return "a network namespace needs root"
        try:
            _lay()
        except (OSError, subprocess.CalledProcessError) as error:
            said = getattr(error, "stderr", None) or str(error)
            return f"no network namespace with a cable can be made here: {said}"
        finally:
            _clear()
        return ""

    def cut(self) -> None:
        """Pull the cable: whatever is sent either way is lost, and connections do not hear of it."""
        _ip("link", "set", _NEAR, "down")

    def heal(self) -> None:
        """Put it in again."""
        _ip("link", "set", _NEAR, "up")

    def processes(self) -> list[psutil.Process]:
        """All processes in the namespace."""
        listed = subprocess.run(["ip", "netns", "pids", _NAME], capture_output=True, text=True, check=False)
        found = []
        for pid in listed.stdout.split():
            with suppress(psutil.NoSuchProcess):
                found.append(psutil.Process(int(pid)))
        return found

    def workers(self, name: str) -> list[psutil.Process]:
        """Those of them whose command line has this in it: Ray writes there what an actor is."""
        found = []
        for process in self.processes():
            with suppress(psutil.Error):
                if name in " ".join(process.cmdline()):
                    found.append(process)
        return found

    def said(self) -> str:
        """The end of what the node printed."""
        return self._log.read_text(errors="replace")[-3000:]

    def close(self) -> None:
        """End the node and take the cable away."""
        for process in self.processes():
            with suppress(psutil.NoSuchProcess):
                process.kill()
        if self._node is not None:
            self._node.wait()
        _clear()


def _lay() -> None:
    _ip("netns", "add", _NAME)
    _ip("link", "add", _NEAR, "type", "veth", "peer", "name", _FAR, "netns", _NAME)
    _ip("addr", "add", f"{HERE}/30", "dev", _NEAR)
    _ip("link", "set", _NEAR, "up")
    for words in (
        ("addr", "add", f"{THERE}/30", "dev", _FAR),
        ("link", "set", _FAR, "up"),
        ("link", "set", "lo", "up"),
        ("route", "add", "default", "via", HERE),
    ):
        _ip("-n", _NAME, *words)


def _clear() -> None:
    for words in (("link", "del", _NEAR), ("netns", "del", _NAME)):
        with suppress(OSError, subprocess.CalledProcessError):
            _ip(*words)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)


def main() -> None:
    """Be the node, until killed."""
    from tests.cluster.ray_nodes import start_worker  # noqa: PLC0415

    node = start_worker(sys.argv[1], THERE, int(sys.argv[2]))
    while node.all_processes["raylet"][0].process.poll() is None:
        time.sleep(0.2)
    node.kill_all_processes(check_alive=False, allow_graceful=False)


if __name__ == "__main__":
    main()
