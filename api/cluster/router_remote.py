"""The router of a cluster's engines, as who sends prompts sees it: asked again where its node was lost."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable
from typing import Any

from api.cluster.actor_calls import SILENCE_SECONDS, ActorLost, answer_of, has_answered
from api.cluster.router import Asked
from api.cluster.router_host import Place
from rag.errors import Unavailable

ROUTER_SECONDS = 60.0
"""How long a router that is lost may take to be there again."""
ANSWER_SECONDS = 100.0
"""The same as `SILENCE_SECONDS` for what is no place: a purge waits for the slowest engine."""


class RemoteRouter:
    """The router's actor, and those of other versions of the service. Threads may share it."""

    def __init__(self, actor: Any, elsewhere: Callable[[], dict[str, Any]] = dict) -> None:
        """`elsewhere` gives the routers of other versions by version: a purge reaches their engines too."""
        self._actor, self._elsewhere = actor, elsewhere

    def lost(self, name: str) -> None:
        """Tell it that an engine is lost."""
        self._actor.lost.remote(name)

    def place(self, asked: Asked, cancel: threading.Event) -> Place | None:
        """Where a prompt goes; None when cancelled while it waited.

        Raises Unavailable (`engine_unavailable`) where there is no engine, or no router for long.
        """
        end = time.monotonic() + ROUTER_SECONDS
        while True:
            request = secrets.token_hex(8)
            asking = self._actor.ask.remote(request, asked)
            while not has_answered(asking):
                if cancel.is_set():
                    self._actor.withdraw.remote(request)
                    return None
            try:
                place: Place | None = answer_of(asking, SILENCE_SECONDS)
                break
            except ActorLost as error:  # its node is lost: it is started anew on another
                _wait(end, error)
        if place is None:
            raise Unavailable("No engine is there; try again in a moment.", code="engine_unavailable")
        return place

    def ask(self, method: str, *arguments: Any) -> Any:
        """What the router answers; asked again where its node was lost, which does no harm.

        Raises Unavailable (`engine_unavailable`) where it is lost for long.
        """
        end = time.monotonic() + ROUTER_SECONDS
        while True:
            try:
                return answer_of(getattr(self._actor, method).remote(*arguments), ANSWER_SECONDS)
            except ActorLost as error:
                _wait(end, error)

    def purge(self, tag: str) -> int:
        """Purge every engine, also those of other versions; how many blocks. Raises Unavailable."""
        return int(self.ask("purge", tag)) + self._purge_elsewhere(tag)

    def _purge_elsewhere(self, tag: str) -> int:
        """A version that begins now has read nothing of what was deleted before; one that has ended holds
        nothing."""
        end, found = time.monotonic() + ROUTER_SECONDS, 0
        left = self._elsewhere()
        while left:
            failed: ActorLost | None = None
            for version, router in [*left.items()]:
                try:
                    found += int(answer_of(router.purge.remote(tag), ANSWER_SECONDS))
                    del left[version]
                except ActorLost as error:
                    failed = error
            if failed is not None:
                _wait(end, failed)
                left = {version: router for version, router in self._elsewhere().items() if version in left}
        return found


def _wait(end: float, error: ActorLost) -> None:
    """Wait a moment for a router that is started anew. Raises Unavailable when it took too long."""
    if time.monotonic() > end:
        raise Unavailable(
            f"The router of the cluster does not answer ({error}).", code="engine_unavailable"
        ) from error
    time.sleep(0.5)
