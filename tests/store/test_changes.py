"""A follower of the log sees every change exactly once and in order, whoever writes at the same time."""

from __future__ import annotations

import random
import threading
import time

from rag.store.repositories import DEFAULT_SCOPE, Changes, Collections
from rag.store.session import Database

WRITERS, EACH = 6, 15


def test_no_gap_is_filled_in_behind_a_reader(database: Database) -> None:
    with database.session() as session:
        collection_id = Collections(session, DEFAULT_SCOPE).create("log", "e").id
    faults: list[BaseException] = []
    seen: list[int] = []
    finished = threading.Event()

    def write(number: int) -> None:
        randomness = random.Random(number)
        try:
            for _ in range(EACH):
                with database.session() as session:
                    # Work before and after the number is taken, as long as another's whole transaction.
                    time.sleep(randomness.random() / 500)
                    Changes(session, DEFAULT_SCOPE).append(collection_id, f"doc_{number}", 1, "publish")
                    time.sleep(randomness.random() / 500)
                    if randomness.random() < 0.2:
                        session.rollback()
        except BaseException as error:
            faults.append(error)

    def follow() -> None:
        last = 0
        try:
            while True:
                ending = finished.is_set()
                with database.read() as session:
                    news = Changes(session, DEFAULT_SCOPE).after(collection_id, last)
                seen.extend(change.seq for change in news)
                last = max([last, *seen[-1:]])
                if ending:
                    return
        except BaseException as error:
            faults.append(error)

    writers = [threading.Thread(target=write, args=(number,)) for number in range(WRITERS)]
    follower = threading.Thread(target=follow)
    for thread in (*writers, follower):
        thread.start()
    for thread in writers:
        thread.join()
    finished.set()
    follower.join()

    assert faults == []
    with database.read() as session:
        committed = [change.seq for change in Changes(session, DEFAULT_SCOPE).after(collection_id, 0)]
    assert seen == committed
    assert committed == list(range(1, len(committed) + 1))
    assert WRITERS * EACH * 0.5 < len(committed) < WRITERS * EACH
