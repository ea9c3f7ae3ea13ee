"""A part of the service that is loaded in the background, for which requests wait."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from concurrent.futures import TimeoutError as FutureTimeout
from typing import Generic, TypeVar

from rag.errors import LongleafError, Unavailable

log = logging.getLogger(__name__)
T = TypeVar("T")

PATIENCE_SECONDS = 120.0
"""How long a request waits for a part that is still being loaded."""


class Part(Generic[T]):
    """A part that is loaded in the background, once."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._future: Future[T] = Future()

    def load(self, make: Callable[[], T]) -> None:
        """Run `make` and keep its result, or its error for all who ask."""
        began = time.perf_counter()
        try:
            self._future.set_result(make())
        except Exception as error:
            log.error("%s failed to load: %s", self.name, error, exc_info=unforeseen(error))
            self._future.set_exception(error)
        else:
            log.info("%s loaded", self.name, extra={"seconds": round(time.perf_counter() - began, 2)})

    def give_up(self) -> None:
        """Let nobody wait any longer."""
        self._future.cancel()

    def now(self) -> T | None:
        """The part, or None while it is not there."""
        done = self._future.done() and not self._future.cancelled()
        return self._future.result() if done and self._future.exception() is None else None

    @property
    def state(self) -> str:
        """`ok`, `loading`, or why it failed."""
        if not self._future.done():
            return "loading"
        if self._future.cancelled():
            return "stopped"
        error = self._future.exception()
        return "ok" if error is None else reason_of(error)

    def wait(self, seconds: float = PATIENCE_SECONDS) -> T:
        """The part, once it is loaded. Raises Unavailable (`<name>_loading`, or the code of its failure)."""
        try:
            return self._future.result(timeout=seconds)
        except FutureTimeout:
            raise Unavailable(
                f"The {self.name} is still being loaded; try again in a moment.", code=f"{self.name}_loading"
            ) from None
        except CancelledError:
            raise Unavailable("The service is stopping.", code="stopping") from None
        except LongleafError as error:
            raise Unavailable(error.detail, code=error.code, extra=error.extra) from error
        except Exception as error:
            raise Unavailable(
                f"The {self.name} could not be loaded: {reason_of(error)}", code=f"{self.name}_unavailable"
            ) from error


def reason_of(error: BaseException) -> str:
    """What is to be said of an error that kept a part from being loaded."""
    return error.detail if isinstance(error, LongleafError) else str(error) or type(error).__name__


def unforeseen(error: Exception) -> bool:
    """Whether nobody thought of this error, so that the log should show where it came from."""
    return not isinstance(error, LongleafError) and type(error).__module__.split(".")[0] != "model"
