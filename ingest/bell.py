"""A bell for the workers of this process: a job was queued in it, so they need not wait for their next look.

Nothing rests on it. Jobs of other processes are found by looking, and so is one whose ringing got lost.
"""

from __future__ import annotations

import threading
from weakref import WeakKeyDictionary

from sqlalchemy import URL, event
from sqlalchemy.orm import Session

_lock = threading.Lock()
_hearing: WeakKeyDictionary[threading.Event, URL] = WeakKeyDictionary()


def hear(store: URL, heard: threading.Event) -> None:
    """Set `heard` whenever a job of the store was queued here, for as long as the event lives."""
    with _lock:
        _hearing[heard] = store


def ring_after_commit(session: Session) -> None:
    """Tell who hears, once the transaction is over and the job can be seen."""
    store = session.get_bind().engine.url
    event.listen(session, "after_commit", lambda _: _ring(store), once=True)


def _ring(store: URL) -> None:
    with _lock:
        for heard, whose in _hearing.items():
            if whose == store:
                heard.set()
