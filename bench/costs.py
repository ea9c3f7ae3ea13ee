"""What this process and the readers of its documents took of processor and memory."""

from __future__ import annotations

import resource
from functools import cache

import psutil

from ingest.forking import SERVER, Child

_peak = 0


def cpu_seconds() -> float:
    """CPU time so far of this process, the children that have ended, and the readers of documents."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    seconds = sum(each.ru_utime + each.ru_stime for each in used)
    if SERVER.pid is not None:
        times = psutil.Process(SERVER.pid).cpu_times()
        seconds += times.user + times.system + times.children_user + times.children_system
    return float(seconds)


@cache
def watch_readers() -> None:
    """Have `largest_reader` know of the documents that are read from here on."""
    end = Child.end

    def noted(child: Child) -> None:
        global _peak  # noqa: PLW0603
        end(child)
        _peak = max(_peak, child.peak_bytes)

    Child.end = noted  # type: ignore[assignment, method-assign]


def largest_reader() -> int:
    """Bytes of the largest reader of a document since `watch_readers`."""
    return _peak
