"""`longleaf sync --watch`: a folder followed until somebody ends it."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from api.commands.sync import Options, Work, show, working
from api.terminal import warn
from ingest.errors import Stopped
from ingest.mirroring.mirror import Done
from ingest.mirroring.scan import Trouble
from ingest.mirroring.watch import changes
from ingest.worker import Worker
from rag.errors import LongleafError
from rag.settings import Settings

_WAIT_SECONDS = 2.0
"""How soon a run is repeated while something waits for what is being read."""


def run(settings: Settings, folder: Path, collection: str, options: Options) -> None:
    """Mirror, then follow what changes. Raises as one run does, before anything is watched."""
    with working(settings, folder, collection, options) as work, _ended_by_sigterm(work.stop):
        follow = _Following(work, options)
        follow.run()  # what is wrong from the start ends the command
        with _reading(work, options):
            for _ in changes(folder, work.stop):
                while follow.try_again() and not work.stop.wait(_WAIT_SECONDS):
                    pass


class _Following:
    """Runs one after the other, each of which says what is new since the one before."""

    def __init__(self, work: Work, options: Options) -> None:
        self._work, self._options = work, options
        self._told: set[Trouble] = set()
        self._refused = ""
        if options.retry:
            work.mirror.retry()

    def try_again(self) -> bool:
        """Run; whether something is left that waits. What hinders a run is said once, not every minute."""
        try:
            waits = self.run()
        except Stopped:
            return False
        except LongleafError as error:
            if error.detail != self._refused:
                warn(error.detail)
            self._refused = error.detail
            return False
        self._refused = ""
        return waits

    def run(self) -> bool:
        done = self._work.once()
        failed = self._work.mirror.failed()
        troubles = {*done.troubles, *failed.values()}
        done.troubles = [each for each in (*done.troubles, *failed.values()) if each not in self._told]
        self._told = troubles
        if not _is_silent(done):
            show(done, len(failed), as_json=self._options.as_json, one_line=True)
        return done.waiting > 0


def _is_silent(done: Done) -> bool:
    news = (done.added, done.changed, done.moved, done.taken_over, done.deleted, done.troubles)
    return not any(news)


@contextmanager
def _reading(work: Work, options: Options) -> Iterator[None]:
    """Read what is queued in the background, unless that is left to a service."""
    if not options.read:
        yield
        return
    work.start()
    service = work.service
    worker = Worker(service.db, service.settings, service.embedder.wait())
    worker.start()
    try:
        yield
    finally:
        worker.stop()


@contextmanager
def _ended_by_sigterm(stop: threading.Event) -> Iterator[None]:
    """Let SIGTERM end the work in order, as Ctrl-C does."""

    def end(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
