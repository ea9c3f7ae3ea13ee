"""Calls of a cluster's actors: an actor that is gone or silent is lost, whatever Ray calls that."""

from __future__ import annotations

from typing import Any

from model.errors import EngineDeadError

SILENCE_SECONDS = 20.0
"""An engine or a router that has not answered for so long is lost."""
LOOK_SECONDS = 0.05
"""How long `has_answered` looks."""


class ActorLost(Exception):
    """An engine or a router did not answer any more."""


def has_answered(reference: Any) -> bool:
    """Whether an answer is there, or comes within a moment."""
    import ray  # noqa: PLC0415

    done, _ = ray.wait([reference], timeout=LOOK_SECONDS, fetch_local=False)
    return bool(done)


def answer_of(reference: Any, seconds: float) -> Any:
    """What an actor answered. Raises what it raised; ActorLost where it is gone or silent for so long."""
    import ray  # noqa: PLC0415
    from ray.exceptions import RayError, RayTaskError  # noqa: PLC0415

    try:
        return ray.get(reference, timeout=seconds)
    except RayTaskError as error:
        if isinstance(error.cause, EngineDeadError):
            raise ActorLost(str(error.cause)) from None
        raise error.cause from None
    except RayError as error:
        raise ActorLost(type(error).__name__) from error
