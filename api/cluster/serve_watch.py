"""Whether the head of the cluster is there, as a command sees it that waits for other things."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from typing import Any, TypeVar

from api.cluster.joining import knock
from rag.errors import Unavailable

T = TypeVar("T")

HEAD_SECONDS = 5.0
"""A head that takes no connection for so long is lost."""
ANSWER_SECONDS = 60.0
"""The same for one that takes them and answers nothing; a lost controller is there again before."""


class ClusterLost(Unavailable):
    """The cluster's head is gone, and with it all that ran on the cluster."""

    default_code = "cluster_lost"


class Watch:
    """Asks the cluster without being held up by it. One thread at a time."""

    def __init__(self, ray: Any) -> None:
        """`ray` is joined to the cluster."""
        self.address = str(ray.get_runtime_context().gcs_address)
        self._failing: float | None = None
        self._answered = time.monotonic()
        self._asking: Future[Any] | None = None

    def ask(self, look: Callable[[], T], seconds: float = 1.0) -> T | None:
        """What `look` returns, waited for so long; None while it does not answer. If it is still at work the
        next time, its answer is what is waited for then.

        Raises ClusterLost when nothing has answered for too long.
        """
        self._knock()
        if self._asking is None:
            self._asking = _begun(look)
        try:
            found: T = self._asking.result(seconds)
        except FutureTimeout:
            why = "it answers nothing"
        except Exception as error:
            self._asking, why = None, f"{type(error).__name__}: {error}"
        else:
            self._asking, self._answered = None, time.monotonic()
            return found
        if time.monotonic() - self._answered > ANSWER_SECONDS:
            raise self.lost(why)
        return None

    def lost(self, why: str) -> ClusterLost:
        """What there is to say of a cluster that is gone."""
        return ClusterLost(
            f"The cluster at {self.address} is lost ({why}). All that was acknowledged is in the database. "
            "Start its head again, and give this command again, as a supervisor does"
        )

    def _knock(self) -> None:
        try:
            knock(self.address)
        except OSError as error:
            now = time.monotonic()
            self._failing = self._failing or now
            if now - self._failing > HEAD_SECONDS:
                raise self.lost(f"its head takes no connection: {error}") from error
        else:
            self._failing = None


def _begun(look: Callable[[], T]) -> Future[T]:
    """A future of what is done in a thread of its own, which nobody need wait for at the end."""
    told: Future[T] = Future()

    def work() -> None:
        try:
            told.set_result(look())
        except BaseException as error:
            told.set_exception(error)

    threading.Thread(target=work, name="look", daemon=True).start()
    return told
