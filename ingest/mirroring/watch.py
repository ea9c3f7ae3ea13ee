"""When a folder has changed: told by the system, and looked for now and then, for it does not tell all."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from pathlib import Path

import watchfiles

log = logging.getLogger(__name__)

DEBOUNCE_SECONDS = 1.6
"""Changes that come one after the other are taken together for so long."""
RESCAN_SECONDS = 60.0
"""The system says nothing of changes on network drives, nor of all when there are too many."""
MISSING_SECONDS = 2.0
"""How often a folder that is gone is looked for."""


def changes(
    folder: Path,
    stop: threading.Event,
    *,
    debounce: float = DEBOUNCE_SECONDS,
    rescan: float = RESCAN_SECONDS,
) -> Iterator[None]:
    """Yield now, then whenever something in the folder may be another, until `stop` is set.

    What changes while the caller is at work is told when it comes back.
    """
    polling = False
    yield
    while not stop.is_set():
        if not folder.is_dir():
            stop.wait(MISSING_SECONDS)
            if folder.is_dir():
                yield
            continue
        watched = _identity(folder)
        try:
            for _ in watchfiles.watch(
                folder,
                watch_filter=None,
                debounce=int(1000 * debounce),
                rust_timeout=int(1000 * rescan),
                yield_on_timeout=True,
                stop_event=stop,
                raise_interrupt=True,
                force_polling=polling or None,
                ignore_permission_denied=True,
            ):
                if stop.is_set():
                    return
                yield
                if _identity(folder) != watched:
                    break
        except FileNotFoundError:  # it went just now
            continue
        except OSError as error:  # e.g. more folders than inotify may watch
            if polling:
                raise
            log.warning("%s can't be watched (%s); it is looked through instead", folder, error)
            polling = True


def _identity(folder: Path) -> tuple[int, int] | None:
    """What tells a folder from another of its name, e.g. once a disk is mounted there; None without one."""
    try:
        state = folder.stat()
    except OSError:
        return None
    return state.st_dev, state.st_ino
